//! An electronic seal of the sandbox's agency, and a public edition of a license sealed with it.

use formats::edition::PublicEdition;
use formats::font::Font;
use formats::ofd::{OfdSignPlan, OfdSigner, Placement, Provider};
use formats::seal::{Holders, SealDesign, SealPlan};
use formats::{Algorithm, Certificate, DEFAULT_SIGNER_ID};
use time::OffsetDateTime;

use crate::authority::{Issuer, SANDBOX, ahead, back};
use crate::error::CertsTestError;
use crate::key::{KeyKind, SoftwareKey};
use crate::seed::Seed;
use crate::service::{self, ServiceKey};

/// Who may use the seal.
const HOLDER: &str = "demo-sm2";
const AGENCY: &str = "测试市市场监督管理局";

/// What there is of seals and sealed documents.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The agency's seal (`SESeal`, GB/T 38540), which `demo-sm2` may use.
    pub seal: Vec<u8>,
    /// The certificate of the seal's maker, DER.
    pub maker: Vec<u8>,
    /// How it looks, PNG.
    pub picture: Vec<u8>,
    /// A public edition of a license as OFD, sealed.
    pub edition: Vec<u8>,
}

/// Makes them. The seal's maker has a key that nothing else is done with.
pub(crate) fn sealed(
    issuer: &Issuer,
    services: &[ServiceKey],
    seed: &Seed,
    at: OffsetDateTime,
) -> Result<Sealed, CertsTestError> {
    let certificate = |service: &ServiceKey| Certificate::from_der(&service.chain[0]).map_err(sealing);
    let maker = service::service("seal-maker", KeyKind::Sm2, issuer, seed, at)?;
    let maker_key = SoftwareKey::derive(KeyKind::Sm2, seed, "seal-maker")?;
    let holder = services.iter().find(|service| service.id == HOLDER).ok_or(CertsTestError::Key)?;
    let holder_key = SoftwareKey::derive(KeyKind::Sm2, seed, HOLDER)?;
    let holder = certificate(holder)?;

    let design = SealDesign::Round {
        name: AGENCY.to_owned(),
        purpose: Some("仅用于测试".to_owned()),
        code: Some("3101150000001".to_owned()),
        diameter: 42,
    };
    let picture = design.draw(Font::built_in()).map_err(sealing)?;
    let pending = SealPlan {
        vendor: "TEST ONLY".to_owned(),
        id: "31011500000001".to_owned(),
        kind: 1,
        name: format!("{AGENCY}（仅用于测试 TEST ONLY）"),
        holders: Holders::Certificates(vec![holder.clone()]),
        created: back(at, 1)?,
        valid_from: back(at, 1)?,
        valid_until: ahead(at, 1095)?,
        picture: picture.clone(),
        maker: certificate(&maker)?,
        algorithm: Algorithm::Sm2Sm3,
        signer_id: DEFAULT_SIGNER_ID.to_vec(),
    }
    .prepare()
    .map_err(sealing)?;
    let signature = maker_key.sign(pending.to_be_signed())?;
    let seal = pending.finish(&signature).map_err(sealing)?;

    let plain = edition(at).to_ofd(Font::built_in(), at).map_err(sealing)?;
    let boundary = PublicEdition::seal_place(42.0, 42.0);
    let pending = OfdSignPlan {
        ofd: &plain,
        document: 0,
        signer: OfdSigner::Seal {
            seal: Box::new(seal.clone()),
            certificate: Box::new(holder),
            stamps: vec![Placement { page: 0, boundary, clip: None }],
        },
        algorithm: Algorithm::Sm2Sm3,
        signer_id: DEFAULT_SIGNER_ID.to_vec(),
        signed_at: at,
        provider: Provider {
            name: "certs-test".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            company: SANDBOX.to_owned(),
        },
    }
    .prepare()
    .map_err(sealing)?;
    let signature = holder_key.sign(pending.to_be_signed())?;
    let edition = pending.finish(&signature, None).map_err(sealing)?;
    let maker = maker.chain.into_iter().next().unwrap_or_default();
    Ok(Sealed { seal: seal.der().to_vec(), maker, picture: picture.octets, edition })
}

/// What a license of an enterprise that does not exist would show.
fn edition(at: OffsetDateTime) -> PublicEdition {
    let fact = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    PublicEdition {
        title: "营业执照".to_owned(),
        kind: "公示版 · 仅用于测试 TEST ONLY".to_owned(),
        facts: vec![
            fact("名称", "测试内资公司示例有限公司"),
            fact("类型", "有限责任公司"),
            fact("法定代表人", "测试甲"),
            fact("注册资本", "人民币壹佰万元整"),
            fact("住所", "测试市测试区测试路 1 号"),
            fact("经营范围", "一般项目：技术服务、技术开发、技术咨询；软件开发；信息系统集成服务。"),
        ],
        authority: AGENCY.to_owned(),
        date: format!("{}年{:02}月{:02}日", at.year(), u8::from(at.month()), at.day()),
        notice: "本文件仅用于测试，不具有任何效力。".to_owned(),
        link: None,
        emblem: None,
        attached: None,
    }
}

fn sealing(error: impl std::fmt::Display) -> CertsTestError {
    CertsTestError::Seal(error.to_string())
}
