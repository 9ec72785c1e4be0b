//! Operations of the contract that no backend serves yet: refused in the contract's order of checks.

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};

use crate::http::ApiState;
use crate::http::extract::TopicPath;
use crate::http::query::{StrictQuery, lacking as unsupported};
use crate::http::routes::Route;
use crate::model::Problem;

/// Refuses: a bad name, a bad parameter and an unknown topic first, then what no backend has.
pub(crate) async fn lacking(
    State(state): State<ApiState>,
    Extension(route): Extension<&'static Route>,
    request: Request,
) -> Problem {
    let (mut parts, _body) = request.into_parts();
    let checked = async {
        let topic = match route.path.contains("{topic}") {
            true => Some(TopicPath::from_request_parts(&mut parts, &state).await?.0),
            false => None,
        };
        StrictQuery::from_request_parts(&mut parts, &state).await?;
        if let Some(name) = topic {
            state.engine.topic(&name).await?;
        }
        Ok(())
    };
    match checked.await {
        Err(problem) => problem,
        Ok(()) => unsupported("No backend serves this operation yet.", route.capability),
    }
}
