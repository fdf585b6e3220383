//! Both dumps against the running kernel, in a network namespace of the test's own.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
};

use nix::sched::{CloneFlags, unshare};

use super::{SocketKind, TcpState, conntrack, sockets};

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

#[test]
fn running_connections_are_found_in_this_namespace() {
    // A thread of its own: the namespace ends with it.
    let test = thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("not run: a network namespace needs root ({error})");
            return;
        }
        run("ip", &["link", "set", "lo", "up"]);
        // A rule that asks for the state makes the kernel track connections here.
        run(
            "nft",
            &[
                "add table inet seedtest; add chain inet seedtest c { type filter hook output priority 0; }; add rule inet seedtest c ct state new counter",
            ],
        );

        let listeners = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).unwrap());
        let open: Vec<_> = listeners
            .iter()
            .map(|listener| {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                (client, listener.accept().unwrap().0)
            })
            .collect();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect("127.0.0.1:9").unwrap();

        let sockets = sockets().unwrap();
        let tracked = conntrack().unwrap();
        for (client, server) in &open {
            let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let mine = sockets.iter().find(|s| s.local == here && s.remote == there).unwrap();
            assert_eq!((mine.kind, mine.state, mine.accepted), (SocketKind::Tcp, 1, false));
            let theirs = sockets.iter().find(|s| s.local == server.local_addr().unwrap() && s.remote == here).unwrap();
            assert!(theirs.accepted);
            let entry = tracked.iter().find(|e| e.proto == 6 && e.original.sport == here.port()).unwrap();
            assert_eq!((entry.original.src, entry.original.dst), (here.ip(), there.ip()));
            assert_eq!((entry.reply.sport, entry.reply.dport), (there.port(), here.port()));
            assert_eq!(entry.tcp, Some(TcpState::Established));
            assert!(entry.seen_reply && entry.timeout > 0);
        }
        let datagrams: Vec<_> = sockets.iter().filter(|s| s.kind == SocketKind::Udp).collect();
        assert_eq!(datagrams.len(), 1);
        assert_eq!(datagrams[0].local, udp.local_addr().unwrap());
        assert_eq!(sockets.len(), 5, "nothing from other namespaces: {sockets:?}");
    });
    assert!(test.join().is_ok());
}
