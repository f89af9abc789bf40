//! The pages that somebody sees who logs in. They need no script: a browser without one looks again by itself. They load
//! nothing, stand in nobody's frame, and their addresses go nowhere.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::qr_svg;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::problem::Problem;
use crate::sessions::login::Scanning;

/// Seconds after which a browser without scripts looks again.
const AGAIN: u32 = 4;

const STYLE: &str = "body{font:1rem/1.6 system-ui,sans-serif;max-width:30rem;margin:2rem auto;padding:0 1rem;text-align:center;\
    color:#1a1a1a;background:#fff}h1{font-size:1.4rem}img{width:16rem;height:16rem;background:#fff;padding:.5rem}\
    button{font:inherit;padding:.5rem 1.5rem;margin:.3rem}.first{font-weight:600}code{overflow-wrap:anywhere}\
    @media(prefers-color-scheme:dark){body{color:#eee;background:#161616}a{color:#8ab4f8}}";

/// Waits for the session and goes on when it has come further: by the same form that somebody without scripts sends.
const SCRIPT: &str = "(async()=>{const d=document.body.dataset,on=()=>document.getElementById('continue').requestSubmit();\
    const done=s=>s==='confirmed'||s==='over';if(done(d.scanning)){on();return}let v=d.version,f=0;for(;;){try{\
    const r=await fetch(`/oidc/login/${d.login}/state?version=${v}`,{cache:'no-store'});\
    if(r.status===403||r.status===404||r.status===410){location.reload();return}\
    if(!r.ok)throw 0;const s=await r.json();f=0;\
    if(done(s.scanning)){on();return}\
    if(s.scanning!==d.scanning){location.reload();return}v=s.version}\
    catch{f=Math.min(f+1,6);await new Promise(w=>setTimeout(w,500*2**f))}}})()";

/// What is seen of a login.
pub(super) struct LoginPage<'p> {
    pub(super) login: &'p str,
    pub(super) app_name: &'p str,
    pub(super) item_name: &'p str,
    pub(super) redirect_uri: &'p str,
    pub(super) qr_text: &'p str,
    pub(super) form_token: &'p str,
    pub(super) scanning: Scanning,
    pub(super) version: u32,
    pub(super) english: bool,
}

impl Scanning {
    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Scanned => "scanned",
            Self::Confirmed => "confirmed",
            Self::Over => "over",
        }
    }
}

impl LoginPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// The code is too long for a picture.
    pub(super) fn response(&self) -> Result<Response, Problem> {
        let english = self.english;
        let say = |zh: &'static str, en: &'static str| if english { en } else { zh };
        let picture = qr_svg(self.qr_text).ok_or_else(|| Problem::login_broken("QR code"))?;
        let picture = format!("data:image/svg+xml;base64,{}", STANDARD.encode(picture));
        let waits = matches!(self.scanning, Scanning::Shown | Scanning::Scanned);
        let body = html! {
            h1 { (say("电子营业执照登录", "Log in with your electronic license")) }
            p { (say("您将登录：", "You are logging in to: ")) strong { (self.app_name) } " — " (self.item_name) }
            @match self.scanning {
                Scanning::Shown => {
                    p { (say("请用手机上的电子营业执照扫描二维码，并核对手机上显示的系统名称。",
                        "Scan this code with the electronic license on your phone, and check that the phone names the same system.")) }
                    img src=(picture) alt=(self.qr_text) width="256" height="256";
                }
                Scanning::Scanned => p { (say("已扫描，请在手机上确认。", "Scanned. Confirm on your phone.")) },
                Scanning::Confirmed => p { (say("已确认。", "Confirmed.")) },
                Scanning::Over => p { (say("未确认，或二维码已过期。", "It was not confirmed, or the code has expired.")) },
            }
            form id="continue" method="post" action=(format!("/oidc/login/{}/continue", self.login)) {
                input type="hidden" name="form" value=(self.form_token);
                button.first type="submit" { (say("继续", "Continue")) }
            }
            @if waits {
                form method="post" action=(format!("/oidc/login/{}/cancel", self.login)) {
                    input type="hidden" name="form" value=(self.form_token);
                    button type="submit" { (say("取消", "Cancel")) }
                }
            }
        };
        let head = html! {
            @if waits {
                noscript { meta http-equiv="refresh" content=(AGAIN); }
            }
        };
        let attributes = (self.login, self.scanning.name(), self.version);
        let page = html! {
            (DOCTYPE)
            html lang=(say("zh", "en")) {
                (self::head(say("登录", "Log in"), &head))
                body data-login=(attributes.0) data-scanning=(attributes.1) data-version=(attributes.2) {
                    main { (body) }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        // The form's answer leads to the app, which may send the browser on: browsers hold each of these against `form-action`.
        let plain = if self.redirect_uri.starts_with("http:") { " http:" } else { "" };
        Ok(dressed(StatusCode::OK, page, &format!("'self' https:{plain}")))
    }
}

/// What is seen, away from the device, of a login that a device waits for.
pub(super) struct DevicePage<'p> {
    pub(super) app_name: &'p str,
    pub(super) item_name: &'p str,
    pub(super) qr_text: &'p str,
    pub(super) scanning: Scanning,
    pub(super) english: bool,
}

impl DevicePage<'_> {
    /// The page.
    ///
    /// # Errors
    /// The code is too long for a picture.
    pub(super) fn response(&self) -> Result<Response, Problem> {
        let say = |zh: &'static str, en: &'static str| if self.english { en } else { zh };
        let picture = qr_svg(self.qr_text).ok_or_else(|| Problem::login_broken("QR code"))?;
        let picture = format!("data:image/svg+xml;base64,{}", STANDARD.encode(picture));
        let body = html! {
            h1 { (say("在设备上登录", "Log in at a device")) }
            p { (say("设备将登录：", "The device logs in to: ")) strong { (self.app_name) } " — " (self.item_name) }
            @match self.scanning {
                Scanning::Shown => {
                    p { (say("请仅在您面前的设备显示此代码时继续：用手机上的电子营业执照扫描二维码，并核对手机上显示的系统名称。",
                        "Go on only if the device before you shows this code: scan it with the electronic license on your phone, and check that the phone names the same system.")) }
                    img src=(picture) alt=(self.qr_text) width="256" height="256";
                }
                Scanning::Scanned => p { (say("已扫描，请在手机上确认。", "Scanned. Confirm on your phone.")) },
                Scanning::Confirmed => p { (say("已确认，请回到设备。", "Confirmed. Go back to the device.")) },
                Scanning::Over => p { (say("未确认，或二维码已过期。", "It was not confirmed, or the code has expired.")) },
            }
        };
        let waits = matches!(self.scanning, Scanning::Shown | Scanning::Scanned);
        let again = html! { @if waits { meta http-equiv="refresh" content=(AGAIN); } };
        let page = simple(say("在设备上登录", "Log in at a device"), &again, &body, self.english);
        Ok(dressed(StatusCode::OK, page, "'none'"))
    }
}

/// Asks for what a device shows; again if none shows that.
pub(super) fn device_field(status: StatusCode, english: bool) -> Response {
    let say = |zh: &'static str, en: &'static str| if english { en } else { zh };
    let body = html! {
        h1 { (say("在设备上登录", "Log in at a device")) }
        @if status == StatusCode::NOT_FOUND {
            p role="alert" { (say("没有设备显示此代码，或已过期。", "No device shows this code, or not any more.")) }
        }
        form method="get" action="/oidc/device" {
            input type="hidden" name="ui_locales" value=(say("zh", "en"));
            p { label for="user_code" { (say("设备上显示的代码：", "The code that the device shows: ")) } }
            p { input id="user_code" name="user_code" required autofocus autocomplete="off" autocapitalize="characters" maxlength="20"; }
            button.first type="submit" { (say("继续", "Continue")) }
        }
    };
    let page = simple(say("在设备上登录", "Log in at a device"), &html! {}, &body, english);
    dressed(status, page, "'self'")
}

/// Says why it does not go on.
pub(crate) fn refused(
    status: StatusCode,
    code: &str,
    detail: &str,
    request_id: &str,
    english: bool,
) -> Response {
    let say = |zh: &'static str, en: &'static str| if english { en } else { zh };
    let body = html! {
        h1 { (say("无法登录", "You cannot be logged in")) }
        p { (detail) }
        p { code { (code) } }
        p { (say("请求编号：", "Request: ")) code { (request_id) } }
    };
    plain(status, say("无法登录", "No login"), &body, english)
}

/// Says that somebody was logged out.
pub(super) fn logged_out(english: bool) -> Response {
    let say = |zh: &'static str, en: &'static str| if english { en } else { zh };
    let body = html! {
        h1 { (say("已退出", "Logged out")) }
        p { (say("本站不保留浏览器登录状态；下次登录需重新扫码。",
            "This site keeps no browser logged in: next time a code is scanned again.")) }
    };
    plain(StatusCode::OK, say("已退出", "Logged out"), &body, english)
}

/// A page without a form.
fn plain(status: StatusCode, title: &str, body: &Markup, english: bool) -> Response {
    dressed(status, simple(title, &html! {}, body, english), "'none'")
}

fn simple(title: &str, more: &Markup, body: &Markup, english: bool) -> Markup {
    let lang = if english { "en" } else { "zh" };
    html! {
        (DOCTYPE)
        html lang=(lang) { (head(title, more)) body { main { (body) } } }
    }
}

fn head(title: &str, more: &Markup) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            (more)
            title { (title) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

/// A page with the fields that keep it what it is. Of scripts only ours runs, by its hash.
fn dressed(status: StatusCode, page: Markup, form_action: &str) -> Response {
    let script = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SCRIPT.as_bytes());
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; connect-src 'self'; \
         form-action {form_action}; frame-ancestors 'none'; base-uri 'none'",
        STANDARD.encode(script)
    );
    let mut response = (status, Html(page.into_string())).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in quiet() {
        headers.insert(name, value);
    }
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Fields of whatever a browser gets here: nobody keeps it, and its address goes nowhere.
pub(super) fn quiet() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

/// Sends a browser somewhere else, by GET whatever it came by.
pub(super) fn see_other(location: &str) -> Result<Response, Problem> {
    let location = HeaderValue::try_from(location).map_err(|_| Problem::login_broken("address"))?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    for (name, value) in quiet() {
        headers.insert(name, value);
    }
    Ok(response)
}
