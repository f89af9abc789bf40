"""A relying party by idpyoidc: it prints where the browser is sent, reads where the browser came back, and prints what it was told."""

import json
import os
import sys
from urllib.parse import parse_qsl, urlsplit

import requests
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptojwt.jwk.ec import ECKey
from cryptojwt.key_bundle import KeyBundle
from cryptojwt.key_jar import KeyJar
from idpyoidc.client.rp_handler import RPHandler

issuer, client_id, callback, key, authority = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = authority
keys = KeyJar()
bundle = KeyBundle()
bundle.append(ECKey(use="sig").load_key(load_pem_private_key(open(key, "rb").read(), None)))
keys.add_kb("", bundle)

# It takes no provider by discovery that does not sign by RS256 as well, and so is told what it would have found.
found = requests.get(f"{issuer}/.well-known/openid-configuration", verify=authority, timeout=60).json()
assert found["issuer"] == issuer, found
keys.import_jwks(requests.get(found["jwks_uri"], verify=authority, timeout=60).json(), issuer)
client = {
    "issuer": issuer,
    "provider_info": found,
    "client_type": "oidc",
    "client_id": client_id,
    "redirect_uris": [callback],
    "response_types_supported": ["code"],
    "client_authn_methods": ["private_key_jwt", "bearer_header"],
    "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
    "id_token_signing_alg_values_supported": ["ES256"],
    "subject_types_supported": ["pairwise"],
    "services": {
        "authorization": {"class": "idpyoidc.client.oidc.authorization.Authorization"},
        "accesstoken": {"class": "idpyoidc.client.oidc.access_token.AccessToken"},
        "refresh_accesstoken": {"class": "idpyoidc.client.oidc.refresh_access_token.RefreshAccessToken"},
        "userinfo": {"class": "idpyoidc.client.oidc.userinfo.UserInfo"},
    },
    "add_ons": {
        "pkce": {
            "function": "idpyoidc.client.oauth2.add_on.pkce.add_support",
            "kwargs": {"code_challenge_length": 64, "code_challenge_method": "S256"},
        }
    },
}
handler = RPHandler(
    base_url=callback.split("/cb")[0],
    client_configs={"site": client},
    keyjar=keys,
    httpc_params={"verify": authority},
)
scope = ["openid", "license", "operator", "offline_access"]
print(handler.begin(issuer_id="site", req_args={"scope": scope}), flush=True)

answer = dict(parse_qsl(urlsplit(sys.stdin.readline().strip()).query))
told = handler.finalize(issuer, answer)
assert "error" not in told, told
renewed = handler.refresh_access_token(told["state"])
print(
    json.dumps(
        {
            "id_token": told["id_token"].to_dict(),
            "userinfo": told["userinfo"].to_dict(),
            "refreshed": renewed["access_token"] != told["token"],
        }
    )
)
