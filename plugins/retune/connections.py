"""Opens connections by the files that ssh and kubectl read, and says what hinders one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from retune.errors import SetupError

CONNECT_S = 15.0
_KEEPALIVE_S = 30
# paramiko tells these by words only (client.py, auth_handler.py).
_UNKNOWN_HOST = "not found in known_hosts"
_NO_KEY = "No authentication methods available"
_CUT_OFF = ("timeout", "transport shut down")


def ssh_by_config(name: str) -> Any:
    """Return a connected paramiko.SSHClient of a host in ~/.ssh/config (ssh_config(5)).

    HostName, Port, User, IdentityFile, ProxyCommand and UserKnownHostsFile are read. A host key that is
    not known is refused, whatever StrictHostKeyChecking says.

    Args:
        name: An alias of the file, or a host.

    Raises:
        SetupError: As `opened` does.
        OSError: The host does not answer, also as paramiko.SSHException or EOFError.
    """
    paramiko = _paramiko(name)
    config = paramiko.SSHConfig()
    file = Path("~/.ssh/config").expanduser()
    if file.is_file():
        config = paramiko.SSHConfig.from_path(str(file))
    found = config.lookup(name)
    if "proxyjump" in found:
        raise SetupError(
            f"connection {name!r}: ProxyJump in {file} cannot be followed",
            f"write `ProxyCommand ssh -W %h:%p {found['proxyjump']}` in its place",
        )
    client = paramiko.SSHClient()
    client.load_system_host_keys()
    for known in found.get("userknownhostsfile", "").split():
        client.load_system_host_keys(str(Path(known).expanduser()))
    proxy = found.get("proxycommand", "none")
    arguments = {
        "hostname": found["hostname"],
        "port": int(found.get("port", 22)),
        "username": found.get("user"),
        "key_filename": found.get("identityfile"),
        "sock": None if proxy == "none" else paramiko.ProxyCommand(proxy),
        "timeout": CONNECT_S,
    }
    opened(name, lambda: client.connect(**arguments))
    client.get_transport().set_keepalive(_KEEPALIVE_S)
    return client


def opened(name: str, connect: Callable[[], Any]) -> Any:
    """Return what `connect` returns; what only a person can mend is a SetupError.

    Args:
        name: The connection's, for the error.
        connect: Connects by paramiko.

    Raises:
        SetupError: The host's key is not known or another one, or the host refuses us.
    """
    paramiko = _paramiko(name)
    try:
        return connect()
    except (FileNotFoundError, PermissionError) as error:
        raise SetupError(
            f"connection {name!r}: {error.filename} cannot be read: {error.strerror}", "mend its key file"
        ) from None
    except paramiko.BadHostKeyException:
        raise SetupError(
            f"connection {name!r}: the host shows another key than the one that is known of it",
            "somebody may stand between; if the host was set up anew, replace its known key",
        ) from None
    except paramiko.SSHException as error:
        text = str(error)
        if _UNKNOWN_HOST in text:
            raise SetupError(
                f"connection {name!r}: the host's key is not known",
                "compare it (`ssh-keyscan HOST`, then ssh-keygen -lf), and put it into ~/.ssh/known_hosts,"
                " or into `host_key` of the connection's extra",
            ) from None
        refused = isinstance(error, paramiko.AuthenticationException) or _NO_KEY in text
        if refused and not any(word in text for word in _CUT_OFF):
            raise SetupError(
                f"connection {name!r}: the host refuses the login",
                "mend its user or its key, and see that the key is in the host's authorized_keys",
            ) from None
        raise


def kubernetes_by_config(name: str) -> Any:
    """Return a kubernetes.client.ApiClient: the pod's own service account, else KUBECONFIG.

    Args:
        name: A context of the kubeconfig; empty: its current one.

    Raises:
        SetupError: There is neither.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise SetupError(f"connection {name!r}: {error}", "install the `kubernetes` extra") from error
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        try:
            config.load_kube_config(context=name or None, client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise SetupError(
                f"connection {name!r}: no cluster is known here ({type(error).__name__})",
                "set KUBECONFIG, and name one of its contexts (`kubectl config get-contexts`)",
            ) from None
    return client.ApiClient(configuration)


def _paramiko(name: str) -> Any:
    try:
        import paramiko
    except ImportError as error:
        raise SetupError(f"connection {name!r}: {error}", "install the `ssh` extra") from error
    return paramiko
