//! Side by side: every round measures every cell once per server, in turn, and in the opposite
//! order the next round. Ratios are taken within the round.

use super::Bench;
use crate::error::Error;
use crate::files;
use crate::load::{self, Sample, Shape};
use crate::options::Section;
use crate::process::Process;
use crate::redis_server::{self, Redis};
use crate::report::{CellResult, Comparison, RedisResult, Side};
use crate::sidecar::{Launch, Running};

/// How a cell reaches its servers.
const TCP: &str = "tcp";
pub(super) const UNIX: &str = "unix";

/// The batch of the stream that is compared with Redis.
const COMPARED_BATCH: usize = 16;

/// A server under load.
pub(super) struct Server {
    pub name: &'static str,
    pub process: Process,
    tcp: String,
    unix: String,
}

impl Server {
    pub(super) fn new(name: &'static str, running: Running) -> Server {
        Server { name, process: running.process, tcp: running.tcp, unix: running.unix }
    }

    fn redis(name: &'static str, redis: Redis) -> Server {
        let unix = format!("redis+unix://{}", redis.socket.display());
        Server { name, process: redis.process, tcp: String::new(), unix }
    }
}

/// One line of the report: a way of asking, and the servers asked.
pub(super) struct Cell {
    pub shape: Shape,
    pub transport: &'static str,
    /// Index of the server, how it is asked, what came out.
    pub sides: Vec<(usize, Shape, Vec<Sample>)>,
}

/// The cells wanted; servers 0 and 1 are the empty service and Headroom, the others are Redis.
fn cells(bench: &Bench<'_>, servers: &[Server]) -> Vec<Cell> {
    let pair = |shape, transport| Cell {
        shape,
        transport,
        sides: vec![(0, shape, Vec::new()), (1, shape, Vec::new())],
    };
    let few = bench.options.sizes().few_cells;
    let mut cells = Vec::new();
    if bench.options.wants(Section::Decisions) {
        let in_flight: &[usize] = if few { &[1, 64] } else { &[1, 8, 64, 256] };
        let batches: &[usize] = if few { &[COMPARED_BATCH] } else { &[1, COMPARED_BATCH, 128] };
        for transport in [TCP, UNIX] {
            let unary = in_flight.iter().map(|&in_flight| Shape::Unary { in_flight });
            let stream = batches.iter().map(|&batch| Shape::Stream { batch });
            cells.extend(unary.chain(stream).map(|shape| pair(shape, transport)));
        }
        cells.extend([1, 64].map(|in_flight| pair(Shape::Sdk { in_flight }, UNIX)));
    }
    if servers.len() > 2 {
        let shape = Shape::Stream { batch: COMPARED_BATCH };
        let mut cell = Cell { shape, transport: UNIX, sides: vec![(1, shape, Vec::new())] };
        let redis = (2..servers.len()).map(|server| (server, Shape::Evalsha, Vec::new()));
        cell.sides.extend(redis);
        cells.push(cell);
    }
    cells
}

/// Measures the cells of Headroom against the empty service, and the one against Redis.
pub(super) fn run(bench: &Bench<'_>) -> Result<(Vec<CellResult>, Option<RedisResult>), Error> {
    let with_redis = bench.options.wants(Section::Redis);
    let redis_there = with_redis && redis_server::is_installed(&bench.options.redis_server);
    if with_redis && !redis_there {
        eprintln!("{}", redis_server::HOW_TO_INSTALL);
    }
    let servers = start(bench, redis_there)?;
    let mut cells = cells(bench, &servers);
    measure(bench, &servers, &mut cells)?;

    let mut redis = if with_redis && !redis_there { Some(RedisResult::NotInstalled) } else { None };
    let mut pairs = Vec::new();
    for cell in cells {
        let sides: Vec<Side> = cell
            .sides
            .iter()
            .map(|(server, _, samples)| Side::new(servers[*server].name, samples, &bench.cores))
            .collect();
        if cell.sides.iter().any(|(_, shape, _)| *shape == Shape::Evalsha) {
            let comparisons =
                sides[1..].iter().map(|redis| Comparison::new(&sides[0], redis)).collect();
            redis = Some(RedisResult::Measured { sides, comparisons });
        } else {
            let comparison = Comparison::new(&sides[1], &sides[0]);
            let (shape, transport) = (cell.shape, cell.transport);
            pairs.push(CellResult { shape, transport, sides, comparison });
        }
    }
    for server in servers {
        server.process.stop()?;
    }
    Ok((pairs, redis))
}

fn start(bench: &Bench<'_>, with_redis: bool) -> Result<Vec<Server>, Error> {
    let Bench { options, cores, program, dir } = bench;
    let empty = Launch::empty_service(program, &dir.join("empty"), cores)?;
    let headroom = Launch::headroom(program, &dir.join("decisions"), cores, &files::ample())?;
    let mut servers = vec![
        Server::new("empty", empty.start_ready()?),
        Server::new("headroom", headroom.start_ready()?),
    ];
    if with_redis {
        for (name, append_only) in [("redis", false), ("redis, AOF", true)] {
            let dir = dir.join(if append_only { "redis-aof" } else { "redis" });
            let redis = Redis::start(&options.redis_server, &dir, cores, append_only)?;
            servers.push(Server::redis(name, redis));
        }
    }
    Ok(servers)
}

/// Measures every cell on each of its servers, in turn.
pub(super) fn measure(
    bench: &Bench<'_>,
    servers: &[Server],
    cells: &mut [Cell],
) -> Result<(), Error> {
    let sizes = bench.options.sizes();
    let rounds = if cells.is_empty() { 0 } else { sizes.rounds };
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for cell in cells.iter_mut() {
            let sides = cell.sides.len();
            for place in 0..sides {
                let side = if round % 2 == 0 { place } else { sides - 1 - place };
                let (server, shape, samples) = &mut cell.sides[side];
                let server = &servers[*server];
                let endpoint = if cell.transport == TCP { &server.tcp } else { &server.unix };
                let sample =
                    load::measure(endpoint, &server.process, *shape, &bench.cores, &sizes)?;
                samples.push(sample);
            }
        }
    }
    Ok(())
}
