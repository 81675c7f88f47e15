//! Who asks: bearer tokens, in-process clients, and impersonation.

use axum::http::{Extensions, HeaderMap};

use super::{InProcessUser, error::ApiError, rbac};
use crate::{state::State, user::User};

/// The user on whose behalf the request is made.
///
/// # Errors
/// 401 for a token that was never given out, 403 for an impersonation that is not allowed.
pub(super) fn user(
    state: &State,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<User, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let user = match (extensions.get::<InProcessUser>(), text("authorization")) {
        (Some(InProcessUser(user)), _) => user.clone(),
        (None, Some(authorization)) => {
            let token = authorization
                .strip_prefix("Bearer ")
                .ok_or_else(ApiError::unauthorized)?;
            state
                .tokens
                .user(token.trim())
                .ok_or_else(ApiError::unauthorized)?
        }
        (None, None) => User::anonymous(),
    };
    match text("impersonate-user") {
        None => Ok(user),
        Some(name) => {
            rbac::check_impersonation(state, &user, name)?;
            let mut groups: Vec<String> = headers
                .get_all("impersonate-group")
                .iter()
                .filter_map(|value| value.to_str().ok())
                .map(String::from)
                .collect();
            if groups.is_empty() {
                groups = User::from(name).groups;
            }
            let authenticated = "system:authenticated".to_owned();
            if name != User::anonymous().name && !groups.contains(&authenticated) {
                groups.push(authenticated);
            }
            Ok(User {
                name: name.into(),
                groups,
            })
        }
    }
}
