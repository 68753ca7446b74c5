//! The outermost of what every request passes: it learns where the request comes from, and finishes the headers of its answer.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};

use crate::{
    headers::REQUEST_ID,
    meters::Meters,
    peer::TrustedProxies,
    rate_limit::{Admission, RateLimits},
};

/// For pages of others: nothing of an answer may be run, framed or embedded, and no address is passed on.
const SECURITY: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// A year. Without `includeSubDomains`: what else runs below the name is not known here.
const STRICT_TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What the shortcut and the routes share; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Edge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    meters: Meters,
    rate_limits: RateLimits,
    trusted_proxies: TrustedProxies,
    strict_transport: bool,
}

impl Edge {
    pub(crate) fn new(rate_limits: RateLimits, trusted_proxies: TrustedProxies, strict_transport: bool) -> Self {
        Self(Arc::new(Inner { meters: Meters::default(), rate_limits, trusted_proxies, strict_transport }))
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.0.meters
    }

    /// Puts the peer's address and the place for its standing among the extensions, unless that was done further out.
    pub(crate) fn enter(&self, request: &mut Request) -> Admission {
        if let Some(admission) = Admission::of(request.extensions()) {
            return admission.clone();
        }
        let peer = self.0.trusted_proxies.peer_of(request);
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let admission = Admission::new(self.0.rate_limits.clone(), peer.map(|peer| peer.0));
        request.extensions_mut().insert(admission.clone());
        admission
    }

    /// Gives an answer the headers that every answer has.
    pub(crate) fn finish(&self, headers: &mut HeaderMap, id: HeaderValue, admission: &Admission) {
        headers.insert(REQUEST_ID, id);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        admission.write(headers);
        self.secure(headers);
    }

    /// The part of them that has nothing to do with the request.
    pub(crate) fn secure(&self, headers: &mut HeaderMap) {
        for (name, value) in SECURITY {
            headers.insert(name, value);
        }
        if self.0.strict_transport {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT_SECURITY);
        }
    }
}
