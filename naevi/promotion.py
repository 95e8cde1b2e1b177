"""Which registered model is in use: the champion, who may take its place, and the way back.

MLflow's registry holds the models `all` of results under one name; the alias `champion` says which is in use.
"""

import pandas as pd

from naevi import comparison, registry, sides
from naevi.comparison import SCORES
from naevi.config import load_config
from naevi.refusal import Refusal
from naevi.sides import Side


def promote(name: str, *, force: bool) -> str:
    """Make the model of a result (see `sides.side`) champion, and say so in one sentence.

    It must be better than the champion on the same images by more than chance explains, in view of all comparisons of
    the experiment set (see `comparison`); `force` lets it pass all the same, which is recorded. The first one passes.

    Raises Refusal where it is not better, is champion already, has no model `all` or no run in MLflow, or was measured
    on other images, masks or classes than the champion.
    """
    candidate = sides.side(name)
    result = _result_of(candidate)
    champion = registry.champion()
    if champion is None:
        version = registry.crown(result, {"reason": "the first", "result": name})
        return f"{name} is the first champion: version {version}."
    if champion.run == result.run:
        raise Refusal(f"{name} is the champion already (version {champion.version}).")
    reason, gained = _judged(Side(f"the champion (version {champion.version})", champion.per_image), candidate)
    if not gained and not force:
        raise Refusal(f"not promoted: {reason} FORCE=1 promotes it all the same, and records that.")
    tags = {"reason": reason, "result": name, "forced": str(not gained).lower(), "before": champion.version}
    version = registry.crown(result, tags)
    how = "It is" if gained else "By force it is"
    return f"{reason} {how} the champion now: version {version}; `make rollback` brings {champion.version} back."


def roll_back() -> str:
    """Make the champion before this one champion again, and say so; raises Refusal where there is none."""
    champion = registry.champion()
    if champion is None or champion.before is None:
        raise Refusal("there is no earlier champion to go back to; `make promote NAME=…` makes one.")
    registry.recrown(champion.before)
    return f"version {champion.before} is the champion again, in place of {champion.version}."


def _result_of(candidate: Side) -> registry.Result:
    """What MLflow holds with these scores, and a model."""
    wanted = _scores(candidate.per_image)
    found = [result for result in registry.results() if _scores(result.per_image) == wanted]
    if not found:
        raise Refusal(f"MLflow holds no run with the scores of {candidate.name}: `make ui` there records it.")
    usable = [result for result in found if result.model]
    if not usable:
        raise Refusal(f"{candidate.name} has no model to use: run it again with `all` among cv.models.")
    return usable[-1]


def _scores(per_image: pd.DataFrame) -> str:
    return per_image[["image_id", "fold", *SCORES]].to_csv(index=False)


def _judged(champion: Side, candidate: Side) -> tuple[str, bool]:
    """The verdict, and whether it is a gain that chance doesn't explain."""
    pairs = comparison.paired(champion, candidate)
    if pairs.only_a or pairs.only_b:
        raise Refusal(
            f"{champion.name} and {candidate.name} were tested on other images ({pairs.only_a} and {pairs.only_b} "
            "are of one alone): promote a result of the same images."
        )
    classes = [set(side.per_image.get("class", [])) for side in (champion, candidate)]
    if classes[0] != classes[1]:
        told = [", ".join(sorted(map(str, names))) or "none" for names in classes]
        raise Refusal(f"{champion.name} finds {told[0]}, {candidate.name} {told[1]}: promote one of the same classes.")
    looks = comparison.looks(champion, candidate)
    dice = comparison.compared(pairs, load_config("evaluate").evaluate)["dice"]
    gained = dice.mean > 0 and comparison.told_from_chance(dice, looks)
    return comparison.verdict(champion.name, candidate.name, dice, looks), gained
