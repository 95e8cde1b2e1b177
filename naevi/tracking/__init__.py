"""MLflow: runs, the registry and served models. Nothing else imports mlflow."""
