//! Static tokens from a file of lines `token,user,uid[,"group1,group2"]` (--token-auth-file).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::auth::{Authenticated, Rejected, TokenAuthenticator, UserInfo};

/// Users by token.
pub struct TokenFile(HashMap<String, Arc<UserInfo>>);

impl TokenFile {
    /// Reads the file. A line that isn't one fails the start, so that no one is silently locked out.
    pub fn load(path: &Path) -> Result<TokenFile, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        TokenFile::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<TokenFile, String> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let number = index + 1;
            let columns = split(line).ok_or_else(|| format!("line {number}: unbalanced quotes"))?;
            let [token, name, uid, rest @ ..] = columns.as_slice() else {
                return Err(format!(
                    "token file must have at least 3 columns (token, user name, user uid), found {}",
                    columns.len()
                ));
            };
            if token.is_empty() {
                tracing::warn!(line = number, "Empty token has been found in token file");
                continue;
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned);
            let mut user = UserInfo::new(name.clone(), groups);
            user.uid.clone_from(uid);
            if users.insert(token.clone(), Arc::new(user)).is_some() {
                tracing::warn!(line = number, "Duplicate token has been found in token file");
            }
        }
        Ok(TokenFile(users))
    }
}

/// Splits a line at commas outside quotes; `""` inside quotes is a quote.
fn split(line: &str) -> Option<Vec<String>> {
    let mut columns = Vec::new();
    let mut column = String::new();
    let mut quoted = false;
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                column.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => {
                columns.push(std::mem::take(&mut column));
                while chars.peek() == Some(&' ') {
                    chars.next();
                }
            }
            c => column.push(c),
        }
    }
    columns.push(column);
    (!quoted).then_some(columns)
}

impl TokenAuthenticator for TokenFile {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, Rejected>> {
        let found = self.0.get(token).cloned();
        let found = found.map(|user| Authenticated { user, audiences: Vec::new() });
        Box::pin(async move { Ok(found) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_users_and_groups() {
        let file = TokenFile::parse("t1,ann,1,\"a,b\"\n\nt2,bob,2\nt3,eve,3,c,ignored\n").unwrap();
        assert_eq!(file.0["t1"].groups, ["a", "b"]);
        assert_eq!(file.0["t2"].name, "bob");
        assert_eq!(file.0["t3"].groups, ["c"]);
        assert!(file.0["t2"].groups.is_empty());
    }

    #[test]
    fn broken_files_are_refused() {
        assert!(TokenFile::parse("t1,ann").is_err());
        assert!(TokenFile::parse("t1,ann,1,\"a").is_err());
        assert!(TokenFile::parse(",ann,1").unwrap().0.is_empty());
    }
}
