"""Signs and judges URLs of S3 with botocore: a JSON list of cases on stdin, a JSON list of answers on stdout.

The time is the case's own. A case with `url` alone is judged: is its signature what botocore makes of method, path, query
and headers as they arrive, with a key that is known, and not too late?
"""
import datetime
import json
import sys
import types
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

STAMP = "%Y%m%dT%H%M%SZ"


def main():
    print(json.dumps([sign(case) if "expires" in case else accepts(case) for case in json.load(sys.stdin)]))


def sign(case):
    now = datetime.datetime.strptime(case["time"], STAMP)
    botocore.auth.datetime = types.SimpleNamespace(datetime=types.SimpleNamespace(utcnow=lambda: now))
    request = AWSRequest(method=case["method"], url=case["url"], headers=case["headers"])
    keys = Credentials(case["accessKeyId"], case["secretAccessKey"])
    botocore.auth.S3SigV4QueryAuth(keys, "s3", case["region"], expires=case["expires"]).add_auth(request)
    return request.url


def accepts(case):
    parts = urlsplit(case["url"])
    pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair != ("", "")]
    given = dict(pairs)
    if len(given) != len(pairs) or given.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        return False
    try:
        key, day, region, service, end = given["X-Amz-Credential"].split("/")
        signed_at = datetime.datetime.strptime(given["X-Amz-Date"], STAMP)
        lifetime = datetime.timedelta(seconds=int(given["X-Amz-Expires"]))
        signed = given["X-Amz-SignedHeaders"].split(";")
        signature = given["X-Amz-Signature"]
    except (KeyError, ValueError, OverflowError):
        return False
    now = datetime.datetime.strptime(case["time"], STAMP)
    headers = {name: value for name, value in case["headers"].items() if name in signed}
    known = key == case["accessKeyId"] and (region, service, end) == (case["region"], "s3", "aws4_request")
    if not known or not signed_at <= now <= signed_at + lifetime or set(signed) - {"host"} != set(headers):
        return False
    request = AWSRequest(
        method=case["method"],
        url=f"{parts.scheme}://{parts.netloc}{quote(unquote(parts.path), safe='/-_.~')}",
        headers=headers,
        params=[pair for pair in pairs if pair[0] != "X-Amz-Signature"],
    )
    request.context["timestamp"] = given["X-Amz-Date"]
    keys = Credentials(key, case["secretAccessKey"])
    auth = botocore.auth.S3SigV4QueryAuth(keys, "s3", region)
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request) == signature


main()
