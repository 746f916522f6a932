//! A small web application of users and votes that goes on while its tables move.
//!
//! ```text
//! cargo run --release --example votes -- --plan cf.toml --listen 127.0.0.1:3000
//! curl -X PUT localhost:3000/users/u1 -H 'content-type: application/json' -d '{"name": "Ann"}'
//! curl localhost:3000/users/u1
//! curl -X POST localhost:3000/votes/act-1
//! curl localhost:3000/votes/act-1
//! ```
//!
//! It wants the tables `users (id text PRIMARY KEY, name text, email text)` and
//! `votes (act text PRIMARY KEY, n counter)` in its plan. Start several: each takes part by itself.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use crossfade::connect;
use crossfade::error::{Effect, Error, Kind};
use crossfade::plan::Plan;
use crossfade::shim::{Shim, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Parser)]
struct Args {
    /// The plan.
    #[arg(long)]
    plan: PathBuf,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: String,
}

#[derive(Serialize, Deserialize)]
struct User {
    #[serde(default)]
    id: String,
    name: Option<String>,
    email: Option<String>,
}

/// The tables that this application uses.
#[derive(Clone)]
struct App {
    users: Table,
    votes: Table,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let plan = Plan::load(&args.plan)?;
    let name = format!("votes on {}, process {}", args.listen, std::process::id());
    let shim = Arc::new(connect::shim(&plan, name).await?);
    let app = App {
        users: shim.table("users")?,
        votes: shim.table("votes")?,
    };
    let listener = tokio::net::TcpListener::bind(&args.listen).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    axum::serve(listener, routes(app))
        .with_graceful_shutdown(stop_signal())
        .await?;
    leave(shim).await?;
    Ok(())
}

/// Waits for Ctrl-C or, where there is such a thing, SIGTERM: what Kubernetes sends to a pod that has to go.
async fn stop_signal() {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Without this, moving a table would wait for this process until it is thought dead.
async fn leave(shim: Arc<Shim>) -> crossfade::error::Result<()> {
    match Arc::into_inner(shim) {
        Some(shim) => shim.leave().await,
        None => Ok(()),
    }
}

fn routes(app: App) -> Router {
    Router::new()
        .route("/users/{id}", get(read).put(write).delete(delete))
        .route("/votes/{act}", post(vote).get(count))
        .with_state(app)
}

async fn read(State(app): State<App>, Path(id): Path<String>) -> Result<Json<User>, Failed> {
    let user = app.users.get_as(&json!({"id": id})).await?;
    user.map(Json).ok_or(Failed::Missing)
}

async fn write(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(user): Json<User>,
) -> Result<StatusCode, Failed> {
    app.users.put_as(&User { id, ..user }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, Failed> {
    let key = app.users.key_of(&json!({"id": id})).await?;
    app.users.delete(&key).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn vote(State(app): State<App>, Path(act): Path<String>) -> Result<StatusCode, Failed> {
    let key = app.votes.key_of(&json!({"act": act})).await?;
    app.votes.add(&key, "n", 1).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn count(State(app): State<App>, Path(act): Path<String>) -> Result<Json<Value>, Failed> {
    let totals = app.votes.count_as(&json!({"act": act})).await?;
    Ok(Json(Value::Object(totals)))
}

enum Failed {
    Missing,
    Store(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Store(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Failed::Store(error) = self else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let status = match (error.kind(), error.known_effect()) {
            // Whoever asked has to know that it may have happened.
            (_, Effect::Unknown) => StatusCode::GATEWAY_TIMEOUT,
            (Kind::Invalid, Effect::None) => StatusCode::BAD_REQUEST,
            (_, Effect::None) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, error.to_string()).into_response()
    }
}
