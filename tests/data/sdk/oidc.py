"""An OpenID provider on this machine: discovery, keys, and tokens for who knows the secrets.

Arguments: folder of more packages, port. `GET /mint?who=..&life=..&key=own|other` makes a token
beside the protocol; `GET /asked` counts the tokens that were asked for by it.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

sys.path.append(sys.argv[1])
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

PORT = int(sys.argv[2])
URL = f"http://127.0.0.1:{PORT}"
KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("own", "other")}
# What is handed out: a secret alone stands for the client, with a name and a password for a person.
CLIENT, SECRET, PERSON, PASSWORD = "feast", "client-s3cret", "ann", "pass-s3cret"
ASKED = []


def token(who, life=300, key="own"):
    now = int(time.time())
    claims = {"sub": who, "preferred_username": who, "iss": URL, "iat": now, "exp": now + life}
    return jwt.encode(claims, KEYS[key], algorithm="RS256", headers={"kid": "k1"})


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, status=200):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urlparse(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/.well-known/openid-configuration":
            self.answer(
                {
                    "issuer": URL,
                    "authorization_endpoint": f"{URL}/authorize",
                    "token_endpoint": f"{URL}/token",
                    "jwks_uri": f"{URL}/jwks",
                }
            )
        elif url.path == "/jwks":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEYS["own"].public_key()))
            self.answer({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]})
        elif url.path == "/mint":
            self.answer(token(asked["who"], int(asked.get("life", 300)), asked.get("key", "own")).encode())
        elif url.path == "/asked":
            self.answer(ASKED)
        else:
            self.answer({"error": "not_found"}, 404)

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        ASKED.append(form.get("grant_type"))
        known = form.get("client_id") == CLIENT and form.get("client_secret") == SECRET
        if form.get("grant_type") == "password":
            known = known and form.get("username") == PERSON and form.get("password") == PASSWORD
            who = form.get("username")
        else:
            known = known and form.get("grant_type") == "client_credentials"
            who = CLIENT
        if known:
            self.answer({"access_token": token(who), "token_type": "Bearer", "expires_in": 300})
        else:
            self.answer({"error": "invalid_client", "error_description": "unknown client or secret"}, 401)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Provider).serve_forever()
