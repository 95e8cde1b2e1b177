"""Promote a result's model to champion, and roll back."""

import os
import re
from dataclasses import replace

import pandas as pd

from naevi.config import load_config
from naevi.errors import UserError, shorten
from naevi.experiments import statistics
from naevi.experiments.named_results import WORKSPACE, NamedResult, load_result
from naevi.experiments.rescoring import rescore
from naevi.experiments.statistics import (
    COMPARED_SCORES,
    PairedImages,
    compare_scores,
    count_comparisons,
    is_significant,
    pair_results,
)
from naevi.record import check_result, read_record
from naevi.results.data_sets import DataSet, are_versions, data_set_labels, is_same
from naevi.tracking.artifacts import run_problems
from naevi.tracking.registry import (
    CHAMPION,
    Champion,
    FinishedResult,
    find_champion,
    finished_results,
    has_lost_champion,
    read_per_image,
    register_champion,
    set_champion,
)
from naevi.tracking.sync import result_files
from naevi.workspace import Workspace

MODEL_VARIABLE = "NAEVI_REGISTERED_MODEL"
MODEL_CHARACTERS = r"\w .-"
EARLIER_MODEL = "naevi"


def promote(workspace: Workspace, name: str, *, force: bool) -> str:
    """Make the model of a named result champion and return a message about it.

    The first champion needs no comparison. Later ones must be significantly better than the champion on the same
    images. If images were added or changed since, see `rescore`. `force` promotes any other result too, and the
    registered model records that.

    Raises UserError if the result is the champion already, has no model `all` or no run in MLflow, or if its files have
    changed. Without `force`, also if it isn't better, or was measured on other images, masks or classes.
    """
    if name == WORKSPACE:
        record = read_record(workspace)
        check_result(workspace, record, load_config(workspace), result_files(workspace, record.config))
    candidate = load_result(workspace, name)
    result = _find_run(workspace, candidate)
    model = registered_model(workspace, candidate.data_set)
    champion = find_champion(workspace, model)
    if champion is None:
        return _promote_first(workspace, candidate, model, result)
    if champion.run == result.run:
        raise UserError(f"{name} is already the champion (version {champion.version}).")
    reason, better = _compare_with_champion(workspace, champion, candidate, force=force)
    if not better and not force:
        raise UserError(f"not promoted: {reason} To promote it anyway, use FORCE=1. The model then records that.")
    tags = {"reason": reason, "result": name, "forced": str(not better).lower(), "before": champion.version}
    version = register_champion(workspace, model, result, tags)
    forced = ", although it is not significantly better" if better is False else ""
    return f"{reason} It is now the champion: version {version}{forced}. To undo this, run `make rollback`."


def _promote_first(workspace: Workspace, candidate: NamedResult, model: str, result: FinishedResult) -> str:
    """Make a result champion without a comparison and return a message about it."""
    if has_lost_champion(workspace, model):
        which, reason = "", "the champion was deleted"
    else:
        which, reason = "first ", "the first"
    version = register_champion(workspace, model, result, {"reason": reason, "result": candidate.name})
    remark = "" if which else " There was no comparison, because the champion was deleted."
    dice = statistics.image_scores(candidate.per_image).dice.mean()
    return (
        f"{candidate.name} is the {which}champion: version {version} of the registered model {model}. Its mean Dice is "
        f"{dice:.3f}.{remark}"
    )


def roll_back(workspace: Workspace) -> str:
    """Make the previous champion of the data set in params.yaml champion again and return a message.

    Raises UserError if there is none.
    """
    model = present_model(workspace)
    champion = find_champion(workspace, model)
    if champion is None or champion.before is None:
        raise UserError(f"{model} has no earlier champion. Promote a result first: `make promote NAME=…`.")
    set_champion(workspace, model, champion.before)
    return f"version {champion.before} is the champion again instead of version {champion.version}."


def present_model(workspace: Workspace) -> str:
    """Return the name of the registered model for the data set in params.yaml."""
    data = load_config(workspace, "data").data
    return registered_model(workspace, DataSet(data.source, data.data_set()))


def describe_lost_champion(workspace: Workspace) -> str:
    """Return a message if the champion of the data set in params.yaml was deleted, otherwise an empty string."""
    model = present_model(workspace)
    if not has_lost_champion(workspace, model):
        return ""
    return f"The champion of {model} was deleted. Promote a result again: `make promote NAME=…`.\n"


def champion_address(workspace: Workspace) -> str:
    """Return MLflow's address of the champion of the data set in params.yaml."""
    return f"models:/{present_model(workspace)}@{CHAMPION}"


def registered_model(workspace: Workspace, data_set: DataSet) -> str:
    """Return the name of the registered model for a data set: NAEVI_REGISTERED_MODEL, or the name of the data set.

    In the name of the data set, characters that MLflow's addresses can't have are replaced by _. Earlier versions had
    only the registered model `naevi`. It stays in use for the data set of its champion.

    Raises UserError if NAEVI_REGISTERED_MODEL has characters that MLflow's addresses can't have.
    """
    if chosen := os.environ.get(MODEL_VARIABLE):
        if not re.fullmatch(rf"\w[{MODEL_CHARACTERS}]*", chosen):
            raise UserError(
                f"{MODEL_VARIABLE} is {shorten(repr(chosen))}. Use letters, digits, blanks, dots, - and _ only."
            )
        return chosen
    earlier = find_champion(workspace, EARLIER_MODEL)
    if earlier and is_same(DataSet(earlier.source, earlier.data_set), data_set._replace(digest="")):
        return EARLIER_MODEL
    return re.sub(f"[^{MODEL_CHARACTERS}]", "_", data_set.label)


def _find_run(workspace: Workspace, candidate: NamedResult) -> FinishedResult:
    """Return the newest run in MLflow that has these scores and this predictor.

    Results of earlier versions have no record of their predictor. Raises UserError if there is no such run, if it has
    no model, or if its files have changed.
    """
    scores = _scores(candidate.per_image)
    same = [
        result
        for result in finished_results(workspace)
        if _scores(result.per_image) == scores
        and (candidate.predictor == result.predictor or not candidate.predictor or not result.predictor)
    ]
    if not same:
        raise UserError(
            f"MLflow has no run with the scores and the model of {candidate.name}. Record it with `make verify`, or "
            "with `make ui` if it is in the workspace."
        )
    usable = [result for result in same if result.model]
    if not usable:
        raise UserError(f"{candidate.name} has no model to use. Add `all` to cv.models and run it again.")
    if problems := run_problems(workspace, usable[-1].run):
        raise UserError(
            f"The files in MLflow's run of {candidate.name} are not the recorded ones: {'; '.join(problems)}. Record "
            "the result again with `make verify`."
        )
    return usable[-1]


def _scores(per_image: pd.DataFrame) -> str:
    return per_image[["image_id", "fold", *COMPARED_SCORES]].to_csv(index=False)


def _compare_with_champion(
    workspace: Workspace, champion: Champion, candidate: NamedResult, *, force: bool
) -> tuple[str, bool | None]:
    """Return the result of the comparison as sentences, and whether the candidate is significantly better.

    With `force`, a comparison that isn't possible is no error, but None.
    """
    name = f"the champion (version {champion.version})"
    try:
        current, pairs, changes = _load_champion(workspace, name, champion, candidate)
    except UserError as error:
        if not force:
            raise UserError(
                f"{candidate.name} can't be compared with {name}: {error} To promote it without a comparison, use "
                "FORCE=1."
            ) from error
        return f"{candidate.name} was not compared with {name}: {error}", None
    verdict, better = _is_better(workspace, current, candidate, pairs)
    return f"{changes} {verdict}".lstrip(), better


def _load_champion(
    workspace: Workspace, name: str, champion: Champion, candidate: NamedResult
) -> tuple[NamedResult, PairedImages, str]:
    """Return the champion's result, its images with those of the candidate, and how they have changed, as sentences.

    Raises UserError if the two have no common yardstick.
    """
    per_image = read_per_image(workspace, champion.run)
    current = NamedResult(name, per_image, data_set=DataSet(champion.source, champion.data_set, champion.digest))
    if are_versions(current.data_set, candidate.data_set):
        _check_classes(current, candidate)
        rescored = rescore(workspace, champion, per_image, candidate)
        current = replace(current, per_image=rescored.per_image)
        return current, pair_results(current, candidate), rescored.description
    return current, _pair_same_images(current, candidate), ""


def _pair_same_images(champion: NamedResult, candidate: NamedResult) -> PairedImages:
    """Return the images of both results. Raises UserError if data sets, images, masks or classes differ."""
    sets = champion.data_set, candidate.data_set
    if not is_same(*sets):
        before, after = data_set_labels(sets)
        raise UserError(f"the champion was measured on the data set {before}, {candidate.name} on {after}.")
    pairs = pair_results(champion, candidate)
    if pairs.only_a or pairs.only_b:
        raise UserError(
            f"they were tested on different images: {pairs.only_a} are only in the champion's test and {pairs.only_b} "
            f"only in that of {candidate.name}."
        )
    _check_classes(champion, candidate)
    return pairs


def _check_classes(champion: NamedResult, candidate: NamedResult) -> None:
    classes = [set(result.per_image.get("class", [])) for result in (champion, candidate)]
    if classes[0] != classes[1]:
        names = [", ".join(sorted(map(str, group))) or "none" for group in classes]
        raise UserError(f"their classes differ: {names[0]} and {names[1]}.")


def _is_better(
    workspace: Workspace, champion: NamedResult, candidate: NamedResult, pairs: PairedImages
) -> tuple[str, bool]:
    """Return the verdict with the number of left-out images, and whether the candidate is significantly better."""
    n_comparisons = count_comparisons(workspace, champion, candidate)
    dice = compare_scores(pairs, load_config(workspace, "evaluate").evaluate)["dice"]
    better = dice.mean > 0 and is_significant(dice, n_comparisons)
    verdict = statistics.verdict(champion.name, candidate.name, dice, n_comparisons)
    return f"{verdict} {statistics.describe_unscored(pairs)}".rstrip(), better
