"""A server of repositories as a forge is one: git over http(s) by `git http-backend`, large objects by giftless under the same
address, and one token for both.

    server.py ROOT [CERTIFICATE KEY]

Repositories are ROOT/OWNER/NAME.git, large objects ROOT/large/OWNER/NAME/ID. Prints its port and two tokens, for the user `_jwt`: one
that lets in, and one that the large objects are closed to. Lives as long as its standard input is open. Each request is a line of
ROOT/requests: status, method, path.
"""

import os
import subprocess
import sys
import threading
import time
import urllib.parse

import jwt
from giftless.app import init_app
from giftless.transfer import basic_streaming
from werkzeug import serving
from werkzeug.wrappers import Request, Response

KEY = "a key that nobody else has, of enough bytes"
USER = "_jwt"


class WithHeaders(basic_streaming.BasicStreamingTransferAdapter):
    """Lets objects in by a header of its own, as GitLab and Gitea do, where giftless does by the address."""

    def download(self, *args, **kwargs):
        told = super().download(*args, **kwargs)
        action = told.get("actions", {}).get("download")
        if action:
            address, _, query = action["href"].partition("?")
            token = urllib.parse.parse_qs(query)["jwt"][0]
            action.update(href=address, header={"Authorization": f"Bearer {token}"})
        return told


def factory(**options):
    return WithHeaders(basic_streaming.factory(**options).storage, options["action_lifetime"])


def token(scopes):
    return jwt.encode({"exp": int(time.time()) + 3600, "sub": "lifeboat", "scopes": scopes}, KEY, algorithm="HS256")


def may(request):
    login = request.authorization
    try:
        return login.username == USER and jwt.decode(login.password, KEY, algorithms="HS256")
    except (AttributeError, jwt.PyJWTError):
        return False


def refused():
    return Response(status=401, headers={"WWW-Authenticate": 'Basic realm="forge"'})


def repository(request):
    """One request to git's own program."""
    if not may(request):
        return refused()
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": root,
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string.decode(),
        "CONTENT_TYPE": request.content_type or "",
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
    }
    body = request.get_data()
    environment["CONTENT_LENGTH"] = str(len(body))
    ran = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE, check=True)
    head, _, body = ran.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    return Response(body, status=headers.pop("Status", "200 OK"), headers=headers)


def site(environment, start):
    request = Request(environment)

    def noted(status, headers, *more):
        with open(f"{root}/requests", "a") as log:
            log.write(f"{status.split()[0]} {request.method} {request.path}\n")
        return start(status, headers, *more)

    # More than one is no request that a server may take (RFC 9110, 5.3): those behind nginx never see one.
    if "," in request.headers.get("Authorization", ""):
        answer = Response(status=400)
    elif "/info/lfs/" not in request.path:
        answer = repository(request)
    elif "/objects/batch" in request.path and not request.authorization:
        # A forge says how it lets in; giftless alone does not.
        answer = refused()
    else:
        while os.path.exists(f"{root}/silent"):
            time.sleep(0.1)
        answer = large
    return answer(environment, noted)


root = os.path.abspath(sys.argv[1])
large = init_app(
    additional_config={
        "LEGACY_ENDPOINTS": False,
        "AUTH_PROVIDERS": [],
        "PRE_AUTHORIZED_ACTION_PROVIDER": {"options": {"private_key": KEY, "key_id": None}},
        "TRANSFER_ADAPTERS": {
            "basic": {"factory": "__main__:factory", "options": {"storage_options": {"path": f"{root}/large"}}}
        },
    }
)
server = serving.make_server("127.0.0.1", 0, site, threaded=True, ssl_context=tuple(sys.argv[2:4]) or None)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.port, token(["obj:*"]), token(["obj:other/repository/*:read"]), flush=True)
sys.stdin.read()
os._exit(0)
