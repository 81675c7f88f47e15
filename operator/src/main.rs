//! The operator binary.

fn main() {
    match cache_operator::api::crd_yaml() {
        Ok(yaml) => print!("{yaml}"),
        Err(error) => eprintln!("{error}"),
    }
}
