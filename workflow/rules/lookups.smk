# How the rules of tables, figures and measurements find what their wildcards name.


def table(wildcards):
    """The table that a rule's wildcards name by its place."""
    return asked(paper_table, CATALOGUE, STUDY_AT[wildcards.table])


def compared(wildcards):
    """The files whose columns a table's page compares. A set that is gone, and whose measurement is what the config asks
    for, is not made again for that: without it the page compares less."""
    lies_there = lambda file: os.path.exists(place(file.path))
    return list(
        {
            file.path: file
            for made, file in table(wildcards).compared
            if lies_there(file)
            or not lies_there(made)
            or (FRESHNESS and FRESHNESS.objections(made))
        }.values()
    )


def printed_numbers(wildcards):
    """The file of the paper's numbers that stand in a table; none for a table of the user's own."""
    paper = table(wildcards).study.paper
    return f"resources/papers/{paper}.csv" if paper else []


def page(wildcards):
    """The page of a paper."""
    made = asked(paper_page, CATALOGUE, wildcards.paper)
    asked(lambda catalogue: Made(f"results/{wildcards.paper}.md", made.job), CATALOGUE)
    return made


def picture(wildcards):
    """The picture that a rule's wildcards name."""
    w = wildcards
    return asked(examples, CATALOGUE, w.dataset, int(w.seed), w.classifier, w.attack)


def figure(name):
    """A figure of a paper, by its name or by a rule's wildcard."""
    return asked(paper_figure, CATALOGUE, name if isinstance(name, str) else name.figure)


def rule_of(wildcards):
    """The inference rule in the run that a rule's wildcards name."""
    return of_run(inference_rule, wildcards)


def scored(wildcards):
    """The discriminator's scores of the run that a rule's wildcards name."""
    return of_run(discriminator_scores, wildcards)


def course(wildcards):
    """The course of a GAN's training in the run that a rule's wildcards name."""
    return of_run(training_course, wildcards)


def costs(wildcards):
    """The costs of purifications before the classifier that a rule's wildcards name."""
    w = wildcards
    run = (w.dataset, int(w.seed), w.classifier)
    return asked(purification_costs, CATALOGUE, *run, w.get("board", "leaderboard"))


# What finds the figures around the leaderboard `modern`, by their files' names.
MODERN_FIGURES = {
    "modern_evaluations": evaluations_figure,
    "modern_costs": costs_figure,
    "modern_draws": draws_figure,
    "modern_pictures": pictures_figure,
}


def modern(name):
    """A figure around the leaderboard `modern`."""
    return asked(MODERN_FIGURES[name], CATALOGUE)


def cleaned(wildcards):
    """The images of the picture `modern_pictures` that a rule's wildcards name."""
    w = wildcards
    made = asked(cleaned_by_each, CATALOGUE, w.dataset, int(w.seed), w.classifier)
    if made.attacked.attack.name != w.attack:
        raise WorkflowError(f"the config asks for {made.path}, not for {w.attack}'s")
    return made
