"""pyHanko's word on every signature of some files, one JSON object to a line: pyhanko_judge.py ROOT FILE...

A file whose name begins with "lt" is judged by ETSI EN 319 102-1 for signatures with long-term data: revocation must be
known, and from the file alone."""

import asyncio
import json
import sys

from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature, validate_pdf_timestamp
from pyhanko.sign.validation.ades import ades_lta_validation
from pyhanko.sign.validation.policy_decl import (
    PdfSignatureValidationSpec,
    RevinfoOnlineFetchingRule,
    RevocationInfoGatheringSpec,
    SignatureValidationSpec,
)
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.context import CertValidationPolicySpec
from pyhanko_certvalidator.policy_decl import (
    REQUIRE_REVINFO,
    CertRevTrustPolicy,
    FreshnessReqType,
)
from pyhanko_certvalidator.registry import SimpleTrustManager

root = load_cert_from_pemder(sys.argv[1])

LONG_TERM = PdfSignatureValidationSpec(
    SignatureValidationSpec(
        cert_validation_policy=CertValidationPolicySpec(
            trust_manager=SimpleTrustManager.build(trust_roots=[root]),
            revinfo_policy=CertRevTrustPolicy(
                REQUIRE_REVINFO,
                freshness=None,
                freshness_req_type=FreshnessReqType.MAX_DIFF_REVOCATION_VALIDATION,
            ),
        ),
        revinfo_gathering_policy=RevocationInfoGatheringSpec(RevinfoOnlineFetchingRule.LOCAL_ONLY),
    )
)


def context():
    return ValidationContext(trust_roots=[root], allow_fetching=False)


def say(path, kind, signature, status):
    print(
        json.dumps(
            {
                "file": path,
                "kind": kind,
                "field": signature.field_name,
                "ok": getattr(status, "bottom_line", status.intact and status.valid and status.trusted),
                "intact": status.intact,
                "trusted": status.trusted,
                "coverage": status.coverage.name,
                "changes": getattr(status.modification_level, "name", None),
                "stamped": getattr(status, "timestamp_validity", None) is not None,
                "summary": status.summary(),
            }
        )
    )


for path in sys.argv[2:]:
    with open(path, "rb") as file:
        # A strict reader takes neither hybrid files nor the /Size that pdfunite writes.
        reader = PdfFileReader(file, strict=not path.startswith(("hybrid", "poppler-unite")))
        for signature in reader.embedded_regular_signatures:
            if path.startswith("lt"):
                status = asyncio.run(ades_lta_validation(signature, LONG_TERM)).api_status
            else:
                status = validate_pdf_signature(signature, context())
            say(path, "signature", signature, status)
        for signature in reader.embedded_timestamp_signatures:
            say(path, "timestamp", signature, validate_pdf_timestamp(signature, context()))
