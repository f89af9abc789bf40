"""A relying party by Authlib, in two steps: `begin` prints where the browser is sent; `end` takes where it came back."""

import json
import sys
import time

from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

step, issuer, client_id, callback, key, authority, *more = sys.argv[1:]
public = not key
session = OAuth2Session(
    client_id,
    client_secret=None if public else ECKey.import_key(open(key).read()),
    scope="openid license operator offline_access",
    redirect_uri=callback,
    code_challenge_method="S256",
    token_endpoint_auth_method="none" if public else "private_key_jwt",
    revocation_endpoint_auth_method="none" if public else "private_key_jwt",
)
session.verify = authority
session.trust_env = False  # or what the environment trusts would count instead
found = session.get(f"{issuer}/.well-known/openid-configuration", withhold_token=True).json()
assert found["issuer"] == issuer, found
assert "S256" in found["code_challenge_methods_supported"], found


def prove():
    """Makes an assertion anew: Authlib's own hold for an hour, and one that is given claims keeps its number."""
    if not public:
        claims = {"exp": int(time.time()) + 300}
        session.register_client_auth_method(PrivateKeyJWT(found["token_endpoint"], claims=claims, alg="ES256"))


if step == "begin":
    kept = {"verifier": "a-verifier-that-nobody-else-knows-of-0123456789", "nonce": "the nonce of Authlib"}
    url, kept["state"] = session.create_authorization_url(
        found["authorization_endpoint"], code_verifier=kept["verifier"], nonce=kept["nonce"]
    )
    json.dump(kept, open("kept.json", "w"))
    print(url)
else:
    kept = json.load(open("kept.json"))
    prove()
    token = session.fetch_token(
        found["token_endpoint"],
        authorization_response=more[0],
        state=kept["state"],
        code_verifier=kept["verifier"],
    )
    keys = KeySet.import_key_set(session.get(found["jwks_uri"], withhold_token=True).json())

    def checked(token, nonce):
        decoded = jwt.decode(token["id_token"], keys, algorithms=found["id_token_signing_alg_values_supported"])
        options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}}
        params = {"client_id": client_id, "access_token": token["access_token"]}
        if nonce:
            params["nonce"] = nonce
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        claims.validate(leeway=60)
        return dict(claims)

    claims = checked(token, kept["nonce"])
    userinfo = session.get(found["userinfo_endpoint"]).json()
    prove()
    renewed = session.refresh_token(found["token_endpoint"], refresh_token=token["refresh_token"])
    again = checked(renewed, None)
    prove()
    session.revoke_token(found["revocation_endpoint"], token=renewed["refresh_token"])
    ended = session.get(found["userinfo_endpoint"]).status_code
    refreshed = again["sub"] == claims["sub"] and ended == 401
    print(json.dumps({"id_token": claims, "userinfo": userinfo, "refreshed": refreshed}))
