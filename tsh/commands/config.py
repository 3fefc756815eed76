"""`tsh config`: a block for ~/.ssh/config, with which a stock OpenSSH reaches the nodes by itself."""

from __future__ import annotations

import sys

import click

from protocol.certificates import proxy_principal
from tsh.profile import Profile, ProfileFolder
from tsh.setting import connection_options, settings_of


@click.command(name="config", short_help="Print an OpenSSH configuration for the cluster.")
@connection_options
@click.pass_context
def command(ctx: click.Context) -> int:
    """Print an OpenSSH configuration: afterwards `ssh LOGIN@NODE.CLUSTER` works, and scp and rsync with it."""
    settings = settings_of(ctx)
    profile = settings.profile()
    sys.stdout.write(render_config(profile, settings.folder()))
    return 0


def render_config(profile: Profile, folder: ProfileFolder) -> str:
    """Return the configuration. No tsh runs when it is used: OpenSSH dials the proxy itself, which starts fastest."""
    keys = folder.keys(profile)
    root = folder.root.absolute()
    private, certificate = (root / path.relative_to(folder.root) for path in (keys.private, keys.certificate))
    trusted = root / folder.known_hosts(profile).relative_to(folder.root)
    jump = (
        f'ssh -F /dev/null -o "UserKnownHostsFile=\\"{trusted}\\"" -o StrictHostKeyChecking=yes'
        f" -o HostKeyAlias={proxy_principal(profile.cluster)} -o HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com"
        f' -o IdentitiesOnly=yes -o "CertificateFile=\\"{certificate}\\"" -i "{private}"'
        f' -p {profile.ssh_port} -l {profile.user} -W "${{host%%.{profile.cluster}}}:%p" {profile.ssh_host}'
    )
    return "\n".join(
        [
            f"# Skerry cluster {profile.cluster}, written by `tsh config`",
            f"Host *.{profile.cluster}",
            f"    UserKnownHostsFile {_quoted(trusted)}",
            "    StrictHostKeyChecking yes",
            "    HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com",
            f"    IdentityFile {_quoted(private)}",
            f"    CertificateFile {_quoted(certificate)}",
            "    IdentitiesOnly yes",
            f"    ProxyCommand sh -c 'host=%h; exec {jump}'",
            "",
        ]
    )


def _quoted(path: object) -> str:
    return f'"{path}"'
