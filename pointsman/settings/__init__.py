"""Settings of one process, resolved once at its edge."""

from pointsman.settings.credentials import load_credential
from pointsman.settings.resolver import ENVIRONMENT_NAMES, Secret, Settings, load_settings

__all__ = ["ENVIRONMENT_NAMES", "Secret", "Settings", "load_credential", "load_settings"]
