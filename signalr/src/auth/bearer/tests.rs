use std::time::UNIX_EPOCH;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair},
};
use axum::response::IntoResponse;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, header::WWW_AUTHENTICATE};
use jsonwebtoken::{Algorithm, EncodingKey, encode, get_current_timestamp};
use serde_json::json;

use super::*;

const SECRET: [u8; 32] = [7; 32];

fn sign(header: &Header, key: &EncodingKey, claims: &Value) -> String {
    encode(header, claims, key).unwrap()
}

/// A token of ann's, changed by `change`.
fn token(change: &Value) -> String {
    let mut claims =
        json!({"sub": "ann", "iss": "us", "aud": "orders", "exp": get_current_timestamp() + 60});
    let (Value::Object(all), Value::Object(change)) = (&mut claims, change) else {
        panic!("objects")
    };
    for (name, value) in change {
        if value.is_null() {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
    sign(&Header::new(Algorithm::HS256), &EncodingKey::from_secret(&SECRET), &claims)
}

fn bearer() -> BearerBuilder {
    Bearer::builder().key(VerificationKey::hs256(&SECRET).unwrap())
}

fn strict() -> Bearer {
    bearer().issuer("us").audience("orders").leeway(Duration::ZERO).build().unwrap()
}

/// What a client is told.
fn challenge(outcome: Result<Identity, Rejection>) -> String {
    let response = outcome.expect_err("rejected").into_response();
    assert_eq!(response.status(), 401);
    response.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned()
}

fn told(description: &str) -> String {
    format!(r#"Bearer error="invalid_token", error_description="{description}""#)
}

#[test]
fn a_good_token_names_its_user() {
    let exp = get_current_timestamp() + 90;
    let identity = strict().verify(&token(&json!({"role": "cook", "exp": exp}))).unwrap();
    assert_eq!(identity.expires_at, Some(UNIX_EPOCH + Duration::from_secs(exp)));
    let user = identity.user;
    assert_eq!(user.id.as_deref(), Some("ann"));
    assert!(user.claims.has("role", "cook"));

    let by_mail = bearer().user_id_claim("email").user_id_claim("sub").build().unwrap();
    assert_eq!(by_mail.verify(&token(&json!({}))).unwrap().user.id.as_deref(), Some("ann"));
    let token = token(&json!({"email": "a@b"}));
    assert_eq!(by_mail.verify(&token).unwrap().user.id.as_deref(), Some("a@b"));
}

#[test]
fn a_bad_token_is_told_what_is_wrong() {
    let now = get_current_timestamp();
    for (change, description) in [
        (json!({"exp": now - 1}), "The token has expired"),
        (json!({"exp": null}), "The expiry is missing"),
        (json!({"exp": "tomorrow"}), "The expiry is missing"),
        (json!({"nbf": now + 60}), "The token is not valid yet"),
        (json!({"aud": "stock"}), "The audience is invalid"),
        (json!({"aud": ["stock", "kitchen"]}), "The audience is invalid"),
        (json!({"aud": null}), "The audience is missing"),
        (json!({"iss": "them"}), "The issuer is invalid"),
        (json!({"iss": null}), "The issuer is missing"),
    ] {
        assert_eq!(challenge(strict().verify(&token(&change))), told(description), "{change}");
    }
    strict().verify(&token(&json!({"aud": ["stock", "orders"]}))).unwrap();
}

#[test]
fn a_bad_signature_is_told() {
    let good = token(&json!({}));
    let forged = format!("{}A", &good[..good.len() - 2]);
    assert_eq!(challenge(strict().verify(&forged)), told("The signature is invalid"));
    let other = Bearer::builder().key(VerificationKey::hs256(b"another").unwrap()).build().unwrap();
    assert_eq!(challenge(other.verify(&good)), told("The signature is invalid"));
    for malformed in ["", "a", "a.b.c", "....", &good[1..], "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(
            challenge(strict().verify(malformed)),
            told("The token is malformed"),
            "{malformed}"
        );
    }
}

#[test]
fn leeway_is_for_clocks() {
    let late = token(&json!({"exp": get_current_timestamp() - 30}));
    bearer().build().unwrap().verify(&late).unwrap();
    bearer().leeway(Duration::MAX).build().unwrap().verify(&late).unwrap();
    challenge(bearer().leeway(Duration::from_secs(5)).build().unwrap().verify(&late));
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn public_keys_verify_their_own_algorithm_only() {
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ec_public: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
    let ec_public = pem("PUBLIC KEY", ec_public.as_ref());
    let ec_private = ec.to_pkcs8v1().unwrap();
    let ec_private =
        EncodingKey::from_ec_pem(pem("PRIVATE KEY", ec_private.as_ref()).as_bytes()).unwrap();

    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa_public: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
    let rsa_public = pem("PUBLIC KEY", rsa_public.as_ref());
    let rsa_private: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let rsa_private =
        EncodingKey::from_rsa_pem(pem("PRIVATE KEY", rsa_private.as_ref()).as_bytes()).unwrap();

    let claims = json!({"sub": "ann", "exp": get_current_timestamp() + 60});
    let es256 = sign(&Header::new(Algorithm::ES256), &ec_private, &claims);
    let rs256 = sign(&Header::new(Algorithm::RS256), &rsa_private, &claims);
    // The classic confusion: an attacker signs with the public key as if it were a secret.
    let confused = sign(
        &Header::new(Algorithm::HS256),
        &EncodingKey::from_secret(rsa_public.as_bytes()),
        &claims,
    );

    let ec_key = VerificationKey::es256(ec_public.as_bytes()).unwrap();
    let rsa_key = VerificationKey::rs256(rsa_public.as_bytes()).unwrap();
    let both = Bearer::builder().key(ec_key.clone()).key(rsa_key.clone()).build().unwrap();
    both.verify(&es256).unwrap();
    both.verify(&rs256).unwrap();
    let unknown = "The token is signed with an unknown key or an algorithm that is not accepted";
    assert_eq!(challenge(both.verify(&confused)), told(unknown));
    let only_ec = Bearer::builder().key(ec_key).build().unwrap();
    assert_eq!(challenge(only_ec.verify(&rs256)), told(unknown));

    let wrong = [
        VerificationKey::rs256(ec_public.as_bytes()),
        VerificationKey::es256(rsa_public.as_bytes()),
        VerificationKey::es256(b"no pem"),
        VerificationKey::hs256(b""),
    ];
    for wrong in wrong {
        println!("{}", wrong.expect_err("not a key"));
    }
    assert_eq!(Bearer::builder().build().expect_err("no key"), BearerError::NoKey);
}

#[test]
fn a_token_that_names_a_key_is_verified_with_that_one() {
    let named = |id: Option<&str>, secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = id.map(str::to_owned);
        let claims = json!({"sub": "ann", "exp": get_current_timestamp() + 60});
        sign(&header, &EncodingKey::from_secret(secret), &claims)
    };
    let key = |secret: &[u8]| VerificationKey::hs256(secret).unwrap();
    let bearer = Bearer::builder()
        .key(key(b"old").with_id("2025"))
        .key(key(b"new").with_id("2026"))
        .key(key(b"any"))
        .build()
        .unwrap();
    for (id, secret, good) in [
        (Some("2025"), &b"old"[..], true),
        (Some("2026"), b"new", true),
        (Some("2026"), b"old", false),
        (Some("2026"), b"any", false),
        (Some("2027"), b"any", true),
        (Some("2027"), b"new", false),
        (None, b"old", true),
        (None, b"new", true),
        (None, b"any", true),
        (None, b"none", false),
    ] {
        assert_eq!(bearer.verify(&named(id, secret)).is_ok(), good, "{id:?}");
    }
}

#[tokio::test]
async fn tokens_come_in_the_header_or_the_query() {
    let good = token(&json!({}));
    let ask = async |uri: &str, header: Option<&str>| {
        let mut request = Request::get(uri);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        strict().authenticate(&parts).await.map(|it| it.and_then(|it| it.user.id))
    };
    let ann = Ok(Some("ann".into()));
    assert_eq!(ask("/", Some(&format!("Bearer {good}"))).await, ann);
    assert_eq!(ask("/", Some(&format!("bearer  {good}"))).await, ann);
    assert_eq!(ask(&format!("/?Access_Token={good}"), None).await, ann);
    assert_eq!(ask(&format!("/?access_token={good}"), Some("Basic YTpi")).await, ann);
    assert_eq!(ask("/", None).await, Ok(None));
    assert_eq!(ask("/", Some("Basic YTpi")).await, Ok(None));
    for bad in ["Bearer", "Bearer ", "Bearer x"] {
        ask(&format!("/?access_token={good}"), Some(bad)).await.expect_err(bad);
    }
}

#[test]
fn secrets_are_not_shown() {
    let told = format!("{:?}", bearer().build().unwrap());
    assert!(!told.contains("7, 7") && !told.contains("BwcH"), "{told}");
}
