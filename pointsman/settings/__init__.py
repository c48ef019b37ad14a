"""Settings of one process, resolved once at its edge."""

from pointsman.settings.aws import AwsClients, AwsPlace, lab_aws_file
from pointsman.settings.credentials import load_credential
from pointsman.settings.resolver import ENVIRONMENT_NAMES, Secret, Settings, load_settings

__all__ = [
    "ENVIRONMENT_NAMES",
    "AwsClients",
    "AwsPlace",
    "Secret",
    "Settings",
    "lab_aws_file",
    "load_credential",
    "load_settings",
]
