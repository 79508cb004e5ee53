//! What is wrong before it is a message.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use headroom_proto::v1;
use headroom_proto::v1::operation::Operation as Op;
use headroom_proto::v1::operation_result::Result as OpResult;
use tonic::Code;

use super::bad_field;
use crate::support::catalogs::PLAIN;
use crate::support::home::{Home, free_ports};
use crate::support::rng::{Rng, seed};
use crate::support::{SOON, ask};

fn batch(count: usize, name: &str) -> v1::DecideRequest {
    let one = |n| Op::Consume(ask::consume("acme", "calls", 1, &format!("{name}-{n}")));
    let operations = (0..count).map(|n| v1::Operation { operation: Some(one(n)) }).collect();
    v1::DecideRequest { operations }
}

#[tokio::test]
async fn a_message_has_64_kib_and_a_batch_256_operations_at_most() {
    let home = Home::new(PLAIN);
    let sidecar = home.start();
    let mut client = ask::entitlements(&home).await;
    let huge = client.consume(ask::consume("acme", &"x".repeat(65 * 1024), 1, "k")).await;
    assert_eq!(huge.unwrap_err().code(), Code::OutOfRange);
    let mut admin = ask::admin(&home).await;
    let huge = admin.put_subscription(ask::subscription("acme", &"x".repeat(65 * 1024))).await;
    assert_eq!(huge.unwrap_err().code(), Code::OutOfRange);

    for (count, name) in [(0, "none"), (257, "many")] {
        // What came before the bad message is answered; the bad one ends the stream.
        let messages = [batch(2, name), batch(count, "bad"), batch(1, "after")];
        let answers = client.decide(tokio_stream::iter(messages)).await.unwrap();
        let mut answers = answers.into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().results.len(), 2);
        let status = answers.message().await.map(tonic::Response::new);
        bad_field(status, "operations");
    }
    let answers = client.decide(tokio_stream::iter([batch(256, "full")])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let is_good =
        |result: &v1::OperationResult| matches!(result.result, Some(OpResult::Consume(_)));
    assert!(answer.results.len() == 256 && answer.results.iter().all(is_good));
    assert_eq!(ask::used(&mut client, "acme", "calls").await, (260, 0));
    drop(client);
    drop(admin);
    sidecar.stop().await;
}

#[tokio::test]
async fn garbage_on_the_port_is_closed_and_forgotten() {
    let [port, admin_port] = free_ports();
    let home = Home::with_settings(PLAIN, &format!("listen: '127.0.0.1:{port}'\n"));
    let mut command = home.serve();
    command.args(["--admin-listen", &format!("127.0.0.1:{admin_port}")]);
    let sidecar = home.spawn_command(command);
    sidecar.wait_log("ready");

    let mut rng = Rng::new(seed());
    let mut noise = |length: u64| (0..length).map(|_| rng.next().to_le_bytes()[0]).collect();
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let with_preface = |rest: Vec<u8>| [PREFACE, &rest].concat();
    let garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), // The beginning of TLS.
        noise(4096),
        noise(1),
        with_preface(noise(4096)),
        with_preface(vec![0xff; 70_000]), // A frame longer than any.
        with_preface(vec![0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 1, 5, 0, 0, 0, 1, 0x82, 0xff, 0xff]),
        PREFACE[..10].to_vec(),
        vec![],
    ];
    for bytes in &garbage {
        for port in [port, admin_port] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            // Either may fail when the other side closes first: that is what it should do.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    let channel = ask::channel(&format!("http://127.0.0.1:{port}")).await;
    let mut client = ask::Entitlements::new(channel);
    assert!(ask::consumed(&mut client, "acme", "calls", 1, "k").await.allowed);
    // Each service is on its own listener only.
    let mut lost = ask::Admin::new(ask::channel(&format!("http://127.0.0.1:{port}")).await);
    let nowhere = lost.get_status(v1::GetStatusRequest {}).await.unwrap_err();
    assert_eq!(nowhere.code(), Code::Unimplemented);
    let channel = ask::channel(&format!("http://127.0.0.1:{admin_port}")).await;
    let mut lost = ask::Entitlements::new(channel);
    let nowhere = lost.check(ask::check("acme", "calls")).await.unwrap_err();
    assert_eq!(nowhere.code(), Code::Unimplemented);
    drop((client, lost));
    sidecar.stop().await;
}
