"""Settings of one process, resolved once at its edge."""

from pointsman.settings.aws import AwsClients, AwsPlace, lab_aws_file
from pointsman.settings.credentials import handed_out, load_credential, load_target_url, require_credential
from pointsman.settings.resolver import ENVIRONMENT_NAMES, Settings, load_settings
from pointsman.settings.secret import Secret
from pointsman.settings.sharing import require_shared

__all__ = [
    "ENVIRONMENT_NAMES",
    "AwsClients",
    "AwsPlace",
    "Secret",
    "Settings",
    "handed_out",
    "lab_aws_file",
    "load_credential",
    "load_settings",
    "load_target_url",
    "require_credential",
    "require_shared",
]
