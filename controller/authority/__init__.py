"""The certificate authorities: keys sealed at rest, certificates signed as policy ordered them."""

from controller.authority.authority import Authority
from controller.authority.error import AuthorityError, PhaseError, UnknownKeyError, UnopenableError
from controller.authority.master_key import load_or_create_master_key
from controller.authority.rotation import ROTATABLE_KINDS, RotatableKind, Rotation
from controller.authority.vault import Vault, VaultError

__all__ = [
    "ROTATABLE_KINDS",
    "Authority",
    "AuthorityError",
    "PhaseError",
    "RotatableKind",
    "Rotation",
    "UnknownKeyError",
    "UnopenableError",
    "Vault",
    "VaultError",
    "load_or_create_master_key",
]
