"""The sample proxy of infra/deploy/nginx in front of a server, for the scripts in Python. Run them from the root."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from server import until


@contextlib.contextmanager
def one_host(server):
    """The URL of the sample proxy in front of both APIs of a server, and the file of its access log. None without nginx."""
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        yield None, None
        return
    home = pathlib.Path(tempfile.mkdtemp(prefix="orderly-nginx-"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    sample = pathlib.Path("infra/deploy/nginx/orderly.conf").read_text()
    sample = sample.replace(":8080", f":{server.ports['command']}").replace(":8081", f":{server.ports['query']}")
    sample = sample.replace("listen 8000", f"listen 127.0.0.1:{port}")
    paths = "".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    # A worker of another user could not write large bodies to these paths.
    user = "user root; " if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(
        f"{user}daemon off; pid {home}/pid; error_log {home}/error.log; events {{}}\n"
        f"http {{ access_log {home}/access.log; {paths}\n{sample}\n}}\n"
    )
    process = subprocess.Popen([nginx, "-p", str(home), "-c", str(home / "nginx.conf")])
    try:
        until("nginx listens", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, seconds=10)
        yield f"http://127.0.0.1:{port}", home / "access.log"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(home, ignore_errors=True)
