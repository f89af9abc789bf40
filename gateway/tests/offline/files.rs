use serde_json::json;

use crate::support::{AT, Scratch, codes, gateway, sandbox};

#[test]
fn the_sandboxs_certificates_are_valid_with_their_crls_checked() {
    for service in [
        "demo-sm2",
        "demo-p256",
        "demo-rsa2048",
        "portal-sm2",
        "front-sm2",
        "sys-audit",
        "sys-token",
        "sys-seal",
    ] {
        let ran = sandbox().verify(&format!("services/{service}/chain.pem"), &format!("--at {AT}"));
        let object = ran.expect(0, "valid", None);
        assert_eq!(object["type"], "cert");
        assert_eq!(codes(&object), [""; 0], "{object}");
        assert!(object["certificate"]["subject"].as_str().unwrap().contains("TEST ONLY"), "{object}");
    }
}

#[test]
fn without_anchors_nothing_is_trusted_and_without_crls_that_is_said() {
    let chain = sandbox().path("services/demo-sm2/chain.pem");
    let chain = chain.to_str().unwrap();
    gateway(&format!("verify --json --at {AT}"), &[chain]).expect(1, "indeterminate", Some("no_path"));
    let bundle = sandbox().path("trust");
    // The chain's own issuing certificate stands in the file.
    gateway(&format!("verify --json --at {AT} --trust {}", bundle.display()), &[chain]).expect(
        0,
        "valid",
        Some("revocation_not_checked"),
    );
}

#[test]
fn certificates_to_be_refused_are_refused_for_the_reason_they_were_made_for() {
    let negatives = sandbox().manifest("negatives");
    assert!(negatives.len() >= 15);
    for negative in negatives {
        let ran = sandbox().verify(negative["file"].as_str().unwrap(), &format!("--at {AT}"));
        ran.expect(1, "invalid", negative["finding"].as_str());
    }
}

#[test]
fn licenses_are_told_from_certificates_and_judged_with_their_faces() {
    for license in sandbox().manifest("licenses") {
        let finding = license["finding"].as_str();
        let ran = sandbox().verify(license["file"].as_str().unwrap(), &format!("--at {AT}"));
        let object = match finding {
            Some(_) => ran.expect(1, "invalid", finding),
            None => ran.expect(0, "valid", Some("status_not_checked")),
        };
        assert_eq!(object["type"], "license");
        if finding.is_none() {
            assert_eq!(object["license"]["uscc"], license["uscc"], "{object}");
            assert_eq!(object["license"]["license_serial"], license["license_serial"]);
            assert!(object["license"]["face"]["name"].is_string());
        }
    }
}

#[test]
fn the_time_of_judgement_is_the_callers() {
    for (at, code, verdict) in
        [("2010-01-01T00:00:00Z", 1, "invalid"), ("2040-01-01T00:00:00Z", 1, "invalid"), (AT, 0, "valid")]
    {
        sandbox().verify("licenses/A-good.der", &format!("--at {at}")).expect(code, verdict, None);
    }
}

#[test]
fn a_certificate_is_good_for_its_usage_and_its_names_only() {
    let tls = |options: &str| sandbox().verify("tls/chain.pem", &format!("--at {AT} {options}"));
    tls("--usage tls-server --name localhost").expect(0, "valid", None);
    tls("--usage tls-server --name 127.0.0.1").expect(0, "valid", None);
    tls("--usage tls-server --name ::1").expect(0, "valid", None);
    tls("--usage tls-server --name localhost.test").expect(1, "invalid", Some("name_mismatch"));
    tls("").expect(1, "invalid", Some("key_usage_not_permitted"));
    tls("--usage timestamp").expect(1, "invalid", Some("key_usage_not_permitted"));
    tls("--usage ca").expect(1, "invalid", Some("key_usage_not_permitted"));
    tls("--usage any").expect(0, "valid", None);
    sandbox().verify("issuing/sm2.pem", &format!("--at {AT} --usage ca")).expect(0, "valid", None);
    let service =
        |options: &str| sandbox().verify("services/demo-sm2/chain.pem", &format!("--at {AT} {options}"));
    service("--usage encryption").expect(1, "invalid", Some("key_usage_not_permitted"));
    let scratch = Scratch::with_authority();
    scratch.verify("leaf.pem", "--name 签名单位").expect(0, "valid", None);
    scratch.verify("leaf.pem", "--name 别的单位").expect(1, "invalid", Some("name_mismatch"));
}

#[test]
fn openssls_cms_is_valid_attached_and_detached_and_in_every_armour() {
    let scratch = Scratch::with_authority();
    scratch.write("content", "关于准予设立登记的通知书\n");
    scratch.write("other", "other");
    let sign = "cms -sign -binary -md sha256 -in content -signer leaf.pem -inkey leaf.key";
    scratch.openssl(&format!("{sign} -nodetach -outform DER -out attached.der"));
    scratch.openssl(&format!("{sign} -nodetach -outform PEM -out attached.pem"));
    scratch.openssl(&format!("{sign} -outform DER -out detached.der"));
    scratch.openssl("base64 -in attached.der -out attached.txt");
    for file in ["attached.der", "attached.pem", "attached.txt"] {
        let object = scratch.verify(file, "").expect(0, "valid", None);
        assert_eq!(object["type"], "cms");
        assert_eq!(object["family"], "rfc5652");
        assert!(object["signers"][0]["subject"].as_str().unwrap().contains("CN=leaf"), "{object}");
    }
    let content = |name| format!("--content {}", scratch.path(name).display());
    scratch.verify("detached.der", &content("content")).expect(0, "valid", None);
    scratch.verify("detached.der", &content("other")).expect(1, "invalid", Some("digest_mismatch"));
    scratch.verify("detached.der", "").expect(1, "indeterminate", Some("content_absent"));
    scratch.verify("attached.der", "--name leaf").expect(0, "valid", None);
    let file = scratch.path("report.json");
    scratch.verify("attached.der", &format!("--report {}", file.display())).expect(0, "valid", None);
    let report: serde_json::Value = serde_json::from_slice(&scratch.read("report.json")).unwrap();
    let signature = &report["SignatureValidationReport"][0];
    let passed = "urn:etsi:019102:mainindication:total-passed";
    assert_eq!(signature["SignatureValidationStatus"]["MainIndication"], passed, "{report}");
    let reference = signature["SignerInformation"]["SignerCertificate"]["VOReference"].as_str().unwrap();
    let object = &report["SignatureValidationObjects"]["ValidationObject"][0];
    assert_eq!(reference.strip_prefix('#'), object["id"].as_str());
    scratch.verify("attached.der", "--name other").expect(1, "invalid", Some("name_mismatch"));
    let mut flipped = scratch.read("attached.der");
    *flipped.last_mut().unwrap() ^= 1;
    scratch.write("flipped.der", flipped);
    scratch.verify("flipped.der", "").expect(1, "invalid", Some("signature_invalid"));
}

#[test]
fn openssls_timestamps_are_valid_over_their_content_alone() {
    let scratch = Scratch::with_authority();
    scratch.write("content", "stamped");
    scratch.write("other", "other");
    scratch.write("serial", "01");
    scratch.write(
        "ts.cnf",
        "[tsa]\nserial = serial\ndefault_policy = 1.2.3.4.1\ndigests = sha256, sha512\naccuracy = secs:1\n\
         ordering = yes\nsigner_digest = sha256\nsigner_cert = tsa.pem\nsigner_key = tsa.key\ncerts = ca.pem\n\
         ess_cert_id_chain = no\nclock_precision_digits = 3\n",
    );
    for (hash, certificate_hash) in [("sha256", "sha256"), ("sha512", "sha1")] {
        scratch.openssl(&format!("ts -query -data content -{hash} -cert -out query.tsq"));
        let mut configuration = String::from_utf8(scratch.read("ts.cnf")).unwrap();
        configuration.push_str(&format!("ess_cert_id_alg = {certificate_hash}\n"));
        scratch.write("used.cnf", configuration);
        scratch.openssl("ts -reply -config used.cnf -section tsa -queryfile query.tsq -out response.tsr");
        scratch.openssl(
            "ts -reply -config used.cnf -section tsa -queryfile query.tsq -token_out -out token.tsr",
        );
        let content = |name| format!("--content {}", scratch.path(name).display());
        for file in ["response.tsr", "token.tsr"] {
            let object = scratch.verify(file, &content("content")).expect(0, "valid", None);
            assert_eq!(object["type"], "tsr");
            assert_eq!(object["timestamp"]["policy"], "1.2.3.4.1", "{object}");
            assert_eq!(object["timestamp"]["accuracy_us"], 1_000_000);
            assert!(object["signers"][0]["subject"].as_str().unwrap().contains("CN=tsa"), "{object}");
            scratch.verify(file, &content("other")).expect(1, "invalid", Some("digest_mismatch"));
            scratch.verify(file, "").expect(1, "indeterminate", Some("content_absent"));
        }
    }
    let before = "--at 2020-01-01T00:00:00Z";
    let judged = scratch.verify("response.tsr", before).expect(1, "invalid", Some("timestamp_in_future"));
    assert!(codes(&judged).contains(&"not_yet_valid"), "{judged}");
    // A refusal: the query asks for a hash the authority does not take.
    scratch.openssl("ts -query -data content -sha384 -out refused.tsq");
    scratch.openssl("ts -reply -config used.cnf -section tsa -queryfile refused.tsq -out refused.tsr");
    scratch.verify("refused.tsr", "").expect(1, "unsigned", Some("timestamp_refused"));
    let token = scratch.read("token.tsr");
    scratch.write("short.tsr", &token[..token.len() - 1]);
    scratch.verify("short.tsr", "--type tsr").expect(2, "invalid", Some("malformed"));
    // A signature is no timestamp, and one for documents makes none.
    scratch.openssl(
        "cms -sign -binary -nodetach -in content -signer leaf.pem -inkey leaf.key -outform DER -out cms",
    );
    scratch.verify("cms", "--type tsr").expect(1, "invalid", Some("not_a_timestamp"));
}

#[test]
fn an_ocsp_response_says_whether_a_certificate_is_revoked() {
    let scratch = Scratch::with_authority();
    scratch.write("good.txt", "V\t491231235959Z\t\t02\tunknown\t/CN=leaf\n");
    scratch.write("revoked.txt", "R\t491231235959Z\t250101000000Z\t02\tunknown\t/CN=leaf\n");
    for (index, code, verdict, finding) in
        [("good", 0, "valid", None), ("revoked", 1, "invalid", Some("revoked"))]
    {
        scratch.openssl(&format!(
            "ocsp -index {index}.txt -CA ca.pem -rsigner ocsp.pem -rkey ocsp.key -issuer ca.pem -cert leaf.pem \
             -ndays 1 -no_nonce -respout {index}.der"
        ));
        let option = format!("--ocsp {}", scratch.path(&format!("{index}.der")).display());
        let object = scratch.verify("leaf.pem", &option).expect(code, verdict, finding);
        assert!(!codes(&object).contains(&"revocation_not_checked"), "{object}");
    }
    assert_eq!(scratch.verify("leaf.pem", &format!("--ocsp {}", scratch.path("ca.pem").display())).code, 2);
}

#[test]
fn streamed_cms_and_cms_of_two_signers_are_valid() {
    let scratch = Scratch::with_authority();
    scratch.write("content", "streamed".repeat(4_000));
    let sign =
        "cms -sign -binary -md sha256 -in content -nodetach -outform DER -signer leaf.pem -inkey leaf.key";
    scratch.openssl(&format!("{sign} -stream -out streamed.der"));
    scratch.verify("streamed.der", "").expect(0, "valid", Some("ber_encoding"));
    scratch.openssl("cms -resign -nocerts -binary -inform DER -in streamed.der -signer leaf.pem -inkey leaf.key -outform DER -out two.der");
    let object = scratch.verify("two.der", "").expect(0, "valid", None);
    assert_eq!(object["signers"].as_array().unwrap().len(), 2, "{object}");
    assert_eq!(object["signers"][0]["attributes"][0]["name"], "contentType");
}

#[test]
fn a_request_proves_that_its_key_is_held() {
    let scratch = Scratch::new();
    for (name, key) in [
        ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
        ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        ("sm2", "-algorithm SM2"),
    ] {
        scratch.openssl(&format!("genpkey {key} -out {name}.key"));
        let options = if name == "sm2" { "-sm3 -sigopt distid:1234567812345678" } else { "-sha256" };
        scratch.openssl(&format!("req -new -key {name}.key -subj /CN=d3 {options} -out {name}.csr"));
        scratch.openssl(&format!("req -in {name}.csr -outform DER -out {name}.der"));
        for file in [format!("{name}.csr"), format!("{name}.der")] {
            let file = scratch.path(&file);
            let object = gateway("verify --json", &[file.to_str().unwrap()]).expect(0, "valid", None);
            assert_eq!((&object["type"], &object["request"]["subject"]), (&"csr".into(), &"CN=d3".into()));
        }
        let mut flipped = scratch.read(&format!("{name}.der"));
        *flipped.last_mut().unwrap() ^= 1;
        let flipped = scratch.write("flipped.der", flipped);
        let ran = gateway("verify --json", &[flipped.to_str().unwrap()]);
        ran.expect(1, "invalid", Some("signature_invalid"));
    }
    let sm2 = scratch.path("sm2.csr");
    let ran = gateway("verify --json --signer-id somebody", &[sm2.to_str().unwrap()]);
    ran.expect(1, "invalid", Some("signature_invalid"));
}

#[test]
fn what_cannot_be_parsed_is_answered_with_malformed_and_exit_code_two() {
    let scratch = Scratch::with_authority();
    let der = std::fs::read(sandbox().path("licenses/A-good.der")).unwrap();
    scratch.write("truncated.der", &der[..der.len() - 1]);
    scratch.write("longer.der", [&der[..], &[0]].concat());
    scratch.write("empty", "");
    scratch.write("text", "hello");
    scratch.write("armour.pem", "-----BEGIN CERTIFICATE-----\nMIIB!\n-----END CERTIFICATE-----\n");
    for (file, kind) in [
        ("truncated.der", "license"),
        ("longer.der", "license"),
        ("empty", "cms"),
        ("text", "csr"),
        ("text", "cert"),
    ] {
        let object = scratch.verify(file, &format!("--type {kind}")).expect(2, "invalid", Some("malformed"));
        assert_eq!(object["type"], kind);
    }
    for file in ["truncated.der", "longer.der", "empty", "text", "armour.pem"] {
        scratch.verify(file, "").expect(2, "invalid", Some("malformed"));
    }
    scratch.verify("absent", "").expect(2, "invalid", Some("unreadable"));
}

#[test]
fn every_file_has_its_line_and_the_worst_decides_the_exit_code() {
    let scratch = Scratch::with_authority();
    scratch.write("text", "hello");
    let paths = ["leaf.pem", "tsa.pem", "text"].map(|name| scratch.path(name));
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let ca = scratch.path("ca.pem");
    let ran = gateway(&format!("verify --json --trust {}", ca.display()), &paths);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    let objects = ran.objects();
    let files: Vec<_> = objects.iter().map(|object| object["file"].as_str().unwrap()).collect();
    assert_eq!(files, paths);
    let verdicts: Vec<_> = objects.iter().map(|object| object["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["valid", "invalid", "invalid"]);
}

/// The first certificate of a chain in PEM.
fn leaf_of(chain: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----\n";
    chain[..chain.find(END).unwrap() + END.len()].to_owned()
}

#[test]
fn seals_and_sealed_packages_are_judged() {
    let object = sandbox().verify("seals/agency.esl", &format!("--at {AT}")).expect(0, "valid", None);
    assert_eq!((&object["type"], &object["signers"]), (&json!("seal"), &json!([])));
    assert_eq!(object["seal"]["version"], "gbt38540-2020");
    assert!(object["seal"]["name"].as_str().unwrap().contains("TEST ONLY"), "{object}");

    let object = sandbox().verify("documents/edition.ofd", &format!("--at {AT}")).expect(0, "valid", None);
    assert_eq!((&object["type"], &object["pages"]), (&json!("ofd"), &json!(1)));
    let signature = &object["signatures"][0];
    assert_eq!((&signature["kind"], &signature["uncovered"]), (&json!("seal"), &json!([])));
    assert!(signature["stamps"][0]["boundary"]["width"].as_f64().unwrap() > 40.0, "{object}");
    assert!(object["signers"][0]["subject"].as_str().unwrap().contains("demo-sm2"), "{object}");

    // By the list of somebody else's makers, and by none.
    let folder = sandbox().path("");
    let by = |makers: &str| {
        let options = format!(
            "verify --json --at {AT} --trust {0}/trust/bundle.pem --intermediate {0}/issuing --crl {0}/crls {makers}",
            folder.display()
        );
        gateway(&options, &[sandbox().path("documents/edition.ofd").to_str().unwrap()])
    };
    let other = format!("--seal-maker {}", sandbox().path("services/demo-sm2/chain.pem").display());
    let others = Scratch::new();
    others.write(
        "leaf.pem",
        leaf_of(&std::fs::read_to_string(sandbox().path("services/demo-sm2/chain.pem")).unwrap()),
    );
    let only_leaf = format!("--seal-maker {}", others.path("leaf.pem").display());
    by(&only_leaf).expect(1, "indeterminate", Some("seal_maker_not_trusted"));
    // Its chain has the authority that certified the maker, too.
    by(&other).expect(0, "valid", None);
    by("").expect(0, "valid", Some("seal_maker_not_checked"));

    // After the seal's time; before it was set; with an octet of it altered; cut short.
    sandbox().verify("documents/edition.ofd", "--at 2036-06-02T00:00:00Z").expect(
        1,
        "invalid",
        Some("seal_expired"),
    );
    let early = sandbox().verify("documents/edition.ofd", "--at 2026-05-30T00:00:00Z");
    early.expect(1, "invalid", Some("signing_time_in_future"));
    let scratch = Scratch::with_authority();
    let mut seal = std::fs::read(sandbox().path("seals/agency.esl")).unwrap();
    let place = seal.len() / 2;
    seal[place] ^= 1;
    scratch.write("altered.esl", &seal);
    scratch.write("short.esl", &seal[..place]);
    let ofd = std::fs::read(sandbox().path("documents/edition.ofd")).unwrap();
    scratch.write("short.ofd", &ofd[..ofd.len() / 2]);
    scratch.verify("altered.esl", "").expect(1, "invalid", Some("seal_forged"));
    scratch.verify("short.esl", "--type seal").expect(2, "invalid", Some("malformed"));
    scratch.verify("short.ofd", "").expect(2, "invalid", Some("malformed"));
}

/// What the register says of a sample's holder, as a file.
fn register(scratch: &Scratch, sample: &str) -> String {
    let object = sandbox().verify(sample, &format!("--at {AT}")).expect(0, "valid", None);
    let (uscc, face) = (&object["license"]["uscc"], &object["license"]["face"]);
    let mut masked = face.clone();
    masked["legal_representative"] = json!("测**");
    scratch.write("register.json", json!({"uscc": uscc, "face": masked, "as_of": AT}).to_string().as_bytes());
    scratch.path("register.json").display().to_string()
}

#[test]
fn license_files_are_judged_and_each_of_six_defects_is_found_by_its_own_finding() {
    let scratch = Scratch::with_authority();
    let register = register(&scratch, "licenses/A-good.der");
    let files = sandbox().manifest("license_files");
    assert_eq!(files.len(), 14);
    for file in files {
        let options = format!("--type license --at {AT} --register {register}");
        let ran = sandbox().verify(file["file"].as_str().unwrap(), &options);
        let verdict = match file["defect"].as_str() {
            None => "valid",
            Some("untrusted") => "indeterminate",
            Some(_) => "invalid",
        };
        let code = match file["defect"].as_str() {
            None => 0,
            Some("damaged") => 2,
            Some(_) => 1,
        };
        let object = ran.expect(code, verdict, file["finding"].as_str());
        assert_eq!(object["type"], "license");
        assert_eq!(object["license_file"]["form"], file["form"], "{object}");
        if file["defect"].is_null() {
            assert_eq!(codes(&object), ["status_not_checked"], "{object}");
            assert_eq!(object["license"]["uscc"], file["uscc"]);
            assert_eq!(object["license_file"]["data"]["title"], "营业执照");
        }
    }
    // Without the register's answer an earlier license is a license.
    let earlier = sandbox().verify("documents/license-register.ofd", &format!("--type license --at {AT}"));
    earlier.expect(0, "valid", Some("status_not_checked"));
    // A document by its form, where nobody says that it is a license.
    let object =
        sandbox().verify("documents/license-shown.ofd", &format!("--at {AT}")).expect(0, "valid", None);
    assert_eq!(object["type"], "ofd");
}

#[test]
fn a_register_that_is_none_is_wrong_usage() {
    let scratch = Scratch::with_authority();
    scratch.write("register.json", b"[]");
    let license = sandbox().path("licenses/A-good.der");
    let register = scratch.path("register.json").display().to_string();
    let ran = gateway(&format!("verify --register {register}"), &[license.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

#[test]
fn the_text_is_chinese_or_english() {
    let license = sandbox().path("licenses/B-expired.der");
    let license = license.to_str().unwrap();
    let bundle = sandbox().path("trust/bundle.pem");
    let say = |lang| gateway(&format!("verify --trust {} --lang {lang}", bundle.display()), &[license]);
    let (chinese, english) = (say("zh"), say("en"));
    assert_eq!((chinese.code, english.code), (1, 1));
    for words in ["无效（电子营业执照）", "[expired] 已过期", "主体："] {
        assert!(chinese.stdout.contains(words), "{}", chinese.stdout);
    }
    assert!(english.stdout.contains("invalid (license)"), "{}", english.stdout);
}

#[test]
fn wrong_usage_is_exit_code_two_and_says_why() {
    let scratch = Scratch::with_authority();
    let leaf = scratch.path("leaf.pem");
    let leaf = leaf.to_str().unwrap();
    scratch.write("text", "hello");
    let text = scratch.path("text").display().to_string();
    for options in [
        "--trust /nonexistent".to_owned(),
        format!("--trust {text}"),
        format!("--crl {text}"),
        "--content /nonexistent".to_owned(),
        "--at yesterday".to_owned(),
        "--usage anything".to_owned(),
        "--type word".to_owned(),
    ] {
        let ran = gateway(&format!("verify --json {options}"), &[leaf]);
        assert_eq!(ran.code, 2, "{options}: {}", ran.stdout);
        assert!(!ran.stderr.is_empty(), "{options}");
    }
    assert_eq!(gateway("verify --json", &[]).code, 2);
}
