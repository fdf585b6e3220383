//! Packets whose transport checksum the sender left to its card, as containers and virtual machines on the box itself send them:
//! only the kernel knows that, so it must be the kernel that forwards them.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    fast::Scene,
    gate::SOON,
    netns::Ns,
    offload,
    service::{self, Server},
    tool,
    town::HOST_INTERFACE,
    townhall::{CLOUD_V4, CLOUD_V6, INTERNET_ROUTER, PC_017},
};

/// A lost packet shows as this long a silence.
const SILENCE: Duration = Duration::from_secs(2);
/// Questions asked in a row; the first few of a conversation always go the slow way.
const QUESTIONS: u32 = 50;

/// A conversation between two kernels.
enum Talk {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Talk {
    fn new(pc: &Ns, server: IpAddr, tcp: bool) -> Result<Self> {
        if tcp {
            let stream = service::connect(pc, None, (server, 443), SILENCE)?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_nodelay(true)?;
            return Ok(Self::Tcp(stream));
        }
        Ok(Self::Udp(service::udp_socket(pc, None, (server, 443), SILENCE)?))
    }

    fn ask(&mut self, number: u32) -> Result<()> {
        let question = number.to_be_bytes();
        let mut answer = [0; 4];
        match self {
            Self::Udp(socket) => {
                socket.send(&question)?;
                socket.recv(&mut answer).map(drop)
            }
            Self::Tcp(stream) => {
                stream.write_all(&question)?;
                stream.read_exact(&mut answer)
            }
        }
        .with_context(|| format!("no answer to question {number}"))?;
        ensure!(answer == question, "an answer to something else");
        Ok(())
    }
}

#[test]
fn what_the_card_should_have_summed_is_left_to_the_kernel() -> Result<()> {
    let scene = Scene::up(&[&INTERNET_ROUTER], true)?;
    let (pc, cloud) = (scene.town.host(&PC_017)?, scene.town.host(&INTERNET_ROUTER)?);
    let both = |finished| {
        offload::checksums(pc, HOST_INTERFACE, finished)?;
        offload::checksums(cloud, HOST_INTERFACE, finished)
    };
    for address in [IpAddr::from(CLOUD_V4), CLOUD_V6.into()] {
        let _tcp = Server::tcp(cloud, (address, 443), |mut stream| {
            let mut buffer = [0; 4];
            while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
        })?;
        let _udp = Server::udp(cloud, (address, 443), |question, _| Some(question.to_vec()))?;
        for tcp in [false, true] {
            let mut talk = Talk::new(pc, address, tcp)?;
            // What the senders sum takes the fast path, so this conversation could.
            both(true)?;
            tool::until("the conversation to take the fast path both ways", SOON, || {
                let before = scene.forwarded()?;
                talk.ask(0)?;
                Ok((scene.forwarded()? == before).then_some(()))
            })?;
            both(false)?;
            let before = scene.forwarded()?;
            for number in 1..=QUESTIONS {
                talk.ask(number).with_context(|| format!("{address}, tcp {tcp}, sums left to the card"))?;
            }
            let slow = scene.forwarded()? - before;
            ensure!(slow >= u64::from(2 * QUESTIONS), "{address}, tcp {tcp}: only {slow} packets took the slow way");
        }
    }
    Ok(())
}
