"""CelebA's official files in small, from made-up pictures that show number and label."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PARTS = (40, 8, 12)  # images of the train, validation and test part
OTHER_ATTRIBUTES = ("5_o_Clock_Shadow", "Young")


def is_male(number: int) -> bool:
    """The label of image `number`, from 1; in no simple rhythm."""
    return number * number % 7 in (1, 2)


def picture(number: int) -> bytes:
    """A JPEG of 178x218: green around the middle 108x108, which is red for a man, else blue, and
    has the number's bits as white or black squares in its first rows."""
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[..., 1] = 255
    middle = pixels[55:163, 35:143]
    middle[:] = (200, 0, 0) if is_male(number) else (0, 0, 200)
    for bit in range(6):
        middle[:18, 18 * bit : 18 * (bit + 1)] = 255 * (number >> bit & 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def write_celeba(data_root: Path, *, zipped: bool = False) -> Path:
    """The folder `celeba` under `data_root`, in the official layout; the images in their zip file
    or extracted."""
    folder = data_root / "celeba"
    folder.mkdir(parents=True)
    names = {number: f"{number:06d}.jpg" for number in range(1, sum(PARTS) + 1)}
    part = np.repeat(range(3), PARTS)
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{name} {part[number - 1]}\n" for number, name in names.items())
    )
    rows = [
        f"{name}  {'-1' if number % 2 else ' 1'} {' 1' if is_male(number) else '-1'} -1\n"
        for number, name in names.items()
    ]
    header = f"{OTHER_ATTRIBUTES[0]} Male {OTHER_ATTRIBUTES[1]} \n"
    (folder / "list_attr_celeba.txt").write_text(f"{len(names)}\n{header}{''.join(rows)}")
    if zipped:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for number, name in names.items():
                archive.writestr(f"img_align_celeba/{name}", picture(number))
    else:
        (folder / "img_align_celeba").mkdir()
        for number, name in names.items():
            (folder / "img_align_celeba" / name).write_bytes(picture(number))
    return folder
