//! The control socket: peer credentials, roles, requests.
