//! A registry's server within the test's process: Confluent's API over any [`SchemaRegistry`], and whatever else a
//! test makes it answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::domain::names::{SchemaId, Subject};
use crate::registry::address::{Address, BaseUrl};
use crate::registry::{RegistryError, SchemaRegistry};
use crate::schema::options::Compatibility;

/// A request that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: Method,
    /// As it was sent, escapes included.
    pub path: String,
    pub authorization: Option<String>,
}

/// What the server does with the next request.
#[derive(Debug, Clone)]
pub enum Next {
    /// Answers from the registry behind it.
    Serve,
    Say(u16, String),
    Redirect(String),
    /// Takes the request and never answers.
    Hang,
}

struct Inner {
    behind: Box<dyn SchemaRegistry>,
    /// Taken one by one; the last stays.
    script: Mutex<VecDeque<Next>>,
    /// What schemas that are sent are answered, in place of the script.
    refusal: Mutex<Option<Next>>,
    asked: Mutex<Vec<Asked>>,
}

/// A server that ends with its last handle.
pub struct Server {
    inner: Arc<Inner>,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(behind: impl SchemaRegistry + 'static, script: Vec<Next>) -> Self {
        let inner = Arc::new(Inner {
            behind: Box::new(behind),
            script: Mutex::new(script.into()),
            refusal: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inner, url, task }
    }

    pub fn base(&self) -> BaseUrl {
        self.url.parse().unwrap()
    }

    pub fn address(&self) -> Address {
        Address::new(vec![self.base()])
    }

    /// What it does from now on.
    pub fn then(&self, script: Vec<Next>) {
        *self.inner.script.lock().unwrap() = script.into();
    }

    /// From now on every schema that is sent is answered with this.
    pub fn refuse_posts(&self, next: Next) {
        *self.inner.refusal.lock().unwrap() = Some(next);
    }

    /// Steps of the script that nobody asked for yet.
    pub fn left(&self) -> usize {
        self.inner.script.lock().unwrap().len()
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.inner.asked.lock().unwrap())
    }
}

fn said(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body.into()).unwrap()
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().to_string();
    let authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let method = request.method().clone();
    inner.asked.lock().unwrap().push(Asked { method: method.clone(), path, authorization });
    let refusal = inner.refusal.lock().unwrap().clone().filter(|_| {
        method == Method::POST && request.uri().path().contains("/subjects/") && !request.uri().path().contains("/compatibility/")
    });
    let next = if let Some(refusal) = refusal {
        refusal
    } else {
        let mut script = inner.script.lock().unwrap();
        if script.len() > 1 { script.pop_front() } else { script.front().cloned() }.unwrap_or(Next::Serve)
    };
    match next {
        Next::Say(status, body) => said(status, body),
        Next::Redirect(to) => Response::builder().status(307).header("location", to).body(Body::empty()).unwrap(),
        Next::Hang => std::future::pending().await,
        Next::Serve => {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 22).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (status, value) = serve(inner.behind.as_ref(), &method, &path, &body).await;
            said(status, value.to_string())
        }
    }
}

fn missing(code: u32) -> (u16, Value) {
    (404, json!({ "error_code": code, "message": "not found" }))
}

async fn serve(behind: &dyn SchemaRegistry, method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let decoded = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8().unwrap().into_owned();
    let segments: Vec<String> = path.trim_start_matches("/base/").split('/').map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let subject = |name: &str| name.parse::<Subject>().unwrap();
    let schema = body["schema"].as_str().unwrap_or_default();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["subjects", name, "versions"]) => {
            let versions = behind.versions(&subject(name)).await.unwrap();
            let numbers: Vec<u32> = versions.iter().map(|v| v.version.0).collect();
            if numbers.is_empty() { missing(40401) } else { (200, json!(numbers)) }
        }
        ("GET", ["subjects", name, "versions", number]) => {
            let versions = behind.versions(&subject(name)).await.unwrap();
            match versions.iter().rfind(|v| *number == "latest" || v.version.0.to_string() == *number) {
                Some(v) => {
                    (200, json!({ "subject": name, "id": v.id.0, "version": v.version.0, "schema": v.schema, "ts": 17, "deleted": false }))
                }
                None => missing(40402),
            }
        }
        ("POST", ["subjects", name, "versions"]) => match behind.register(&subject(name), schema).await {
            Ok(registered) => (200, json!({ "id": registered.id.0 })),
            Err(RegistryError::Incompatible { .. }) => (409, json!({ "error_code": 409, "message": "it is incompatible" })),
            Err(e) => (422, json!({ "error_code": 42201, "message": e.to_string() })),
        },
        ("POST", ["compatibility", "subjects", name, "versions"]) => match behind.accepts(&subject(name), schema).await {
            Ok(()) => (200, json!({ "is_compatible": true })),
            Err(_) => (200, json!({ "is_compatible": false })),
        },
        ("GET", ["schemas", "ids", id]) => match behind.by_id(SchemaId(id.parse().unwrap())).await {
            Ok(schema) => (200, json!({ "schema": schema })),
            Err(_) => missing(40403),
        },
        ("GET", ["config", name]) => match behind.mode(&subject(name)).await.unwrap() {
            // What is behind cannot tell its default from the same mode said: then nothing was said.
            Compatibility::BackwardTransitive => missing(40408),
            mode => (200, json!({ "compatibilityLevel": mode.as_str() })),
        },
        ("PUT", ["config", name]) => {
            let mode = Compatibility::ALL.into_iter().find(|m| m.as_str() == body["compatibility"]).unwrap();
            behind.set_mode(&subject(name), mode).await.unwrap();
            (200, body.clone())
        }
        _ => (404, json!({ "error_code": 404, "message": "HTTP 404 Not Found" })),
    }
}
