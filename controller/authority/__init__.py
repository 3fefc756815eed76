"""The certificate authorities: keys sealed at rest, certificates signed as policy ordered them."""

from controller.authority.authority import Authority
from controller.authority.error import AuthorityError, UnknownKeyError, UnopenableError
from controller.authority.vault import Vault, VaultError, load_or_create_master_key

__all__ = [
    "Authority",
    "AuthorityError",
    "UnknownKeyError",
    "UnopenableError",
    "Vault",
    "VaultError",
    "load_or_create_master_key",
]
