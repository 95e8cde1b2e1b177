"""The model card. It is derived from parameters, models and scores, so it can't go out of date."""

from typing import Any

from naevi.config import ModelConfig
from naevi.metrics import FAILURE_IOU
from naevi.rendering.data_sets import DATASET_NAMES
from naevi.reporting.confidence import failure_detection
from naevi.reporting.formatting import format_interval, format_number, join_words
from naevi.reporting.image_tables import describe_worst
from naevi.reporting.result import ReportData
from naevi.reporting.scores import describe_test
from naevi.reporting.subgroups import describe_weakest

OWN_ENCODER = "own"  # the encoder in the model.json of lesson 12's networks, see models.build.effective_model_config
# What the numbers don't show, by data.source.
DATASET_LIMITS = {
    "ph2": "200 images from one clinic and one dermatoscope, mostly of fair skin. Each image has one annotator's mask. "
    "Nothing is known about other cameras, other skin or other lesions, or about how much annotators would differ.",
    "phantoms": "The images are synthetic. The scores say nothing about patients, only that the pipeline works.",
    "folder": "Nothing is known about images that were taken or selected in another way.",
}


def model_card(result: ReportData) -> dict[str, str]:
    """Return the texts of the model card by heading."""
    network = _describe_network(result.network, result.models[0].get("start_weights"))
    size, dice, iou = result.config.preprocess.size, result.metrics["dice"], result.metrics["iou"]
    return {
        "What it does": f"It segments an image into {join_words(result.config.data.names())}. "
        f"{network} It resizes the image to {size} by {size} px and returns a mask of the "
        "image's own size.",
        "Intended use": "Research and teaching.",
        "Not for": "Diagnosis, treatment, triage or any other decision about a person. It is not a medical device: "
        "it shows where something is, not what it is.",
        "Training data": _describe_training_data(result),
        "Evaluation": f"{describe_test(result)} Scores are means over images, intervals are bootstraps over images.",
        "Result": f"Dice {format_number(dice['mean'])} (95 % interval {format_interval(dice)}), "
        f"IoU {format_number(iou['mean'])} ({format_interval(iou)}). "
        f"{result.metrics['failed']} of {result.metrics['images']} images have an IoU below {FAILURE_IOU}.",
        "Weakest subgroup": f"{describe_weakest(result)} {describe_worst(result.per_image)}",
        "Failure detection": failure_detection(result),
        "Limits of the data": DATASET_LIMITS[result.config.data.source],
    }


def _describe_network(network: ModelConfig, file: dict[str, Any] | None) -> str:
    """Return a sentence about the network. `file` is the account of `load_start_weights` if a file was loaded."""
    start = "random weights" if network.weights == "none" else f"weights: {network.weights}"
    if file:
        start += f", {file['loaded']} of {file['tensors']} tensors of the {file['part']}"
    if network.encoder == OWN_ENCODER:
        origin = start.replace(":", "", 1) if file else "random weights"
        return f"The network is {network.architecture} from lesson 12, trained from {origin}."
    return f"The network is {network.architecture} with the encoder {network.encoder} ({start})."


def _describe_training_data(result: ReportData) -> str:
    trained = result.models[0]["dataset"]  # data.source, or the names of several data sets
    name = result.data_set if result.curves is not None else DATASET_NAMES.get(trained, trained)
    numbers = [
        f"{model['data']['train']['images']} ({model['item'] if model['item'] == 'all' else 'fold ' + model['item']})"
        for model in result.models
    ]
    return f"{name}. Number of training images of each model: {', '.join(numbers)}."
