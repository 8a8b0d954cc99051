# How results look in Snakemake's report, whatever target was asked for: each by the study whose result it is.
import base64
import csv
import html
import re
import sys

from purification.experiments.cells import attack_list
from purification.experiments.papers import (
    PAPERS,
    SWEPT_FORMS,
    TABLE_FORMS,
    TIME_FORMS,
)

THREAT_MODELS = ("white_box", "white_box_bpda", "gray_box", "surrogate", "black_box")
# The forms of studies of attacks from one place alone. Others have their defenses' threat models, or none.
SWEPT = (
    *SWEPT_FORMS,
    "accuracy_over_search",
    "roc",
    "reconstructions_over_search",
    "reconstructions_over_epsilon",
)
THREAT_MODELS_OF = (
    dict.fromkeys([*SWEPT, "transferred", "black_box_pictures"], ("black_box",))
    | dict.fromkeys(
        (*TIME_FORMS, "samples", "toy", "comparison", "worst_case", "accuracy_l2", "leaderboard")
        + (
            *("accuracy_over_evaluations", "accuracy_over_costs", "accuracy_over_draws"),
            "accuracy_over_time",
        ),
        (),
    )
    | dict.fromkeys(("direct", "searches", "cost_accuracy", "white_box_over_steps"), None)
)


DRAWN = "Hollow markers and areas in brackets are the paper's, where it prints numbers for the same data set and settings."
NOTES = {
    **dict.fromkeys(("roc", "white_box_over_steps", "one_pass_detection"), DRAWN),
    "generator_quality": "Frechet distances are on features of a classifier of this run: no Inception-FID.",
    "comparison": "Only numbers that both have: of the same data set, attack, strength, classifier and defense.",
}


def shown(path):
    """A result in the report, under its paper."""

    def labels(wildcards):
        study = study_at(path, wildcards)
        form = study.form.replace("_", " ")
        return {"result": study.printed or form, "shows": study.shown or form}

    def paper(wildcards):
        study = study_at(path, wildcards)
        if study.paper:
            return PAPERS[study.paper].title
        return "Own tables" if study.form in TABLE_FORMS else "All papers"

    kind = "Figures" if path.endswith("png") else "Tables"
    return report(path, "../report/study.rst", category=paper, subcategory=kind, labels=labels)


def study_at(path, wildcards=None):
    """The study whose result lies at a path of the rules."""
    place = path.format(**dict(wildcards.items() if wildcards else ()))
    stem = place.removeprefix("results/").rpartition("/")
    return CATALOGUE.study(STUDY_AT["".join(stem[:2]) + stem[2].partition(".")[0]])


def about(study):
    """What a reader must know of a study, in Markdown: whose it is, and what it is made from."""
    own = studied(study)
    title = study.title
    if study.paper:
        named = f", {study.printed}" if study.printed else ""
        title = f"{PAPERS[study.paper].title}{named} ({PAPERS[study.paper].cited})"
    lines = [f"**{': '.join(filter(None, [title, study.shown]))}.**"]
    facts = {
        "Data sets": own.get("datasets", ()),
        "Classifiers": own.get("classifiers", own.get("pairs", ())),
        "Defenses": own.get("defenses", ()),
        "Attacks": [attack_list(map(CATALOGUE.attack, own["attacks"]))] if own["attacks"] else (),
        "Threat models": list(map(in_brief, own["threat_models"])),
        "Seeds": CATALOGUE.config["seeds"],
    }
    lines.append("\n".join(f"- {k}: {'; '.join(map(str, v))}." for k, v in facts.items() if v))
    return "\n\n".join([*lines, *filter(None, [NOTES.get(study.form)])])


def studied(study):
    """The settings that say what a study looks at; each that the config has in the singular as a list."""
    own = dict(study.settings)
    for name in (*study.of, *(["sweep"] if study.form in SWEPT else [])):
        own = {**CATALOGUE.study(name).settings, **own}
    for name in ("classifier", "pair", "defense", "attack"):
        if name in own:
            own.setdefault(f"{name}s", [own[name]])
    panels = own.get("panels", ())
    own.setdefault("datasets", list(dict.fromkeys(panel["dataset"] for panel in panels)))
    own.setdefault("attacks", [panel["attack"] for panel in panels])
    if "epsilons" in own:
        [attack] = own["attacks"]
        own["attacks"] = [CATALOGUE.attack_at(attack, epsilon) for epsilon in own["epsilons"]]
    own["defenses"] = own.get("defenses") or sorted(own.get("lines", ()))
    threat_models = THREAT_MODELS_OF.get(study.form, ("gray_box",) if own["attacks"] else ())
    if threat_models is None:
        purifiers = filter(CATALOGUE.purifies, own["defenses"])
        known = {"white_box"}.union(*map(CATALOGUE.threat_models, purifiers))
        known |= {"black_box"} if "pairs" in own else set()
        threat_models = own.get("threat_models") or [m for m in THREAT_MODELS if m in known]
    return own | {"threat_models": threat_models}


def result_link(path):
    """A link that opens a page or table of results beside the menu."""
    document = f"<!doctype html><meta charset='utf-8'><style>{STYLE}</style>"
    document += f"<div class='result'>{result_html(path)}</div>"
    data = base64.b64encode(document.encode()).decode()
    view = f"{{content: 'html', contentPath: 'data:text/html;base64,{data}', resultPath: '{path}'}}"
    return f'<a href="javascript:app.setView({view})">Show the table, with n and intervals</a>'


def result_html(path):
    """A table of results, or its page."""
    if Path(path).suffix == ".md":
        return markdown_html(read_page(path))
    lines = [" | ".join(row) for row in csv.reader(read_text_table(path).splitlines())]
    return markdown_html("\n".join(f"| {line} |" for line in [lines[0], "---", *lines[1:]]))


def markdown_html(text):
    """Of Markdown what the pages of tables have: headings, paragraphs, lists, tables, bold and code."""
    text = html.escape(text.strip(), quote=False).replace("&lt;br&gt;", "<br>")
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return "".join(map(block_html, re.split(r"\n{2,}", text)))


def block_html(block):
    if heading := re.fullmatch("(#+) (.*)", block):
        return f"<h{len(heading[1])}>{heading[2]}</h{len(heading[1])}>"
    if block.startswith("- "):
        items = re.split("^- ", block, flags=re.MULTILINE)[1:]
        return f"<ul>{''.join(f'<li>{item.strip()}</li>' for item in items)}</ul>"
    if not block.startswith("| "):
        return f"<p>{block}</p>"
    header, _, *rows = [line[2:-2].split(" | ") for line in block.split("\n")]
    rows = [[f"<th>{cell}</th>" for cell in header]] + [[f"<td>{c}</td>" for c in r] for r in rows]
    lines = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table>{lines}</table>"


# A report's captions and front page are reStructuredText; what they say of results is made here.
if any(word.startswith("--report") for word in sys.argv):
    from docutils import nodes
    from docutils.parsers.rst import Directive, directives

    from purification.reporting.threat_models import in_brief
    from purification.text_tables import read_page, read_text_table

    class Study(Directive):
        """`.. study:: OUTPUTS`: what a reader must know of the results among a job's outputs, and
        a link to a table's page."""

        required_arguments, final_argument_whitespace = 1, True

        def run(self):
            files = self.arguments[0].split()
            places = [file.removeprefix(f"{RESULTS}/") for file in files]
            studies = {study_at(place).name: study_at(place) for place in places}
            text = "".join(markdown_html(about(study)) for study in studies.values())
            tables = [file for file in files if file.endswith((".md", ".csv"))]
            if tables and not any(file.endswith(".png") for file in files):
                text += f"<p>{result_link(page_of(tables[0]))}</p>"
            return [nodes.raw("", text, format="html")]

    class Page(Directive):
        """`.. page:: TABLE`: its page, with n and intervals."""

        required_arguments = 1
        option_spec = {"open": directives.flag}

        def run(self):
            shut = "" if "open" in self.options else "<summary>The table</summary>"
            tag = "div" if "open" in self.options else "details"
            table = result_html(page_of(self.arguments[0]))
            text = f"<style>{STYLE}</style><{tag} class='result'>{shut}{table}</{tag}>"
            return [nodes.raw("", text, format="html")]

    directives.register_directive("study", Study)
    directives.register_directive("page", Page)


def page_of(table):
    """The page that has the numbers of a table with n and intervals; the table, if it has none."""
    page = Path(table).with_name(f"{Path(table).name.split('.')[0]}.md")
    return page if page.exists() else table


# Tall front pages begin at the top, wide ones are as wide as their tables.
STYLE = """
.result {overflow-x: auto; font: 14px sans-serif}
.result table {border-collapse: collapse; margin: 1em 0; font-size: 13px}
.result th, .result td {border: 1px solid #bbb; padding: 3px 7px; vertical-align: top; text-align: left}
.result th {background: #eee}
.prose.max-w-lg {max-width: 64rem}
.overflow-auto.items-center {align-items: safe center}
"""
