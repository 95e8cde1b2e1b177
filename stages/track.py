"""Make MLflow agree with the result that lies here."""

from naevi import refusal, tracking
from naevi.config import load_config


def main() -> None:
    tracking.reconcile(load_config())


if __name__ == "__main__":
    refusal.run(main)
