//! Replies in pieces of any size, whole, cut and lying about their lengths.

use proptest::prelude::*;

use super::*;

const MAX: usize = 1 << 20;

/// Feeds `bytes` in pieces of `size` and returns the replies; nothing may be left over.
fn decode_all(bytes: &[u8], size: usize) -> Result<Vec<Value>, WireError> {
    let (mut decoder, mut waiting, mut replies) = (Decoder::default(), vec![], vec![]);
    for piece in bytes.chunks(size) {
        waiting.extend_from_slice(piece);
        loop {
            let (taken, reply) = decoder.decode(&waiting, MAX)?;
            waiting.drain(..taken);
            match reply {
                Some(reply) => replies.push(reply),
                None => break,
            }
        }
    }
    assert!(waiting.is_empty() && decoder.open.is_empty() && decoder.string.is_none());
    Ok(replies)
}

#[test]
fn every_kind_of_reply_is_read_in_pieces_of_any_size() {
    let bytes: &[u8] = b"+OK\r\n:-7\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*3\r\n:1\r\n*1\r\n$1\r\nx\r\n-ERR no\r\n\
            %1\r\n+a\r\n:1\r\n~1\r\n#t\r\n,1.5\r\n(123456789012345678901\r\n_\r\n=6\r\ntxt:hi\r\n|1\r\n+ttl\r\n:9\r\n+after\r\n-ERR x\r\n";
    let (text, bulk) = (|text: &str| Value::Simple(text.into()), |bytes: &[u8]| Value::Bulk(bytes.to_vec()));
    let expected = vec![
        text("OK"),
        Value::Integer(-7),
        bulk(b"a\r\nbc"),
        bulk(b""),
        Value::Null,
        Value::Null,
        Value::Array(vec![]),
        Value::Array(vec![Value::Integer(1), Value::Array(vec![bulk(b"x")]), Value::Error("ERR no".into())]),
        Value::Array(vec![text("a"), Value::Integer(1)]),
        Value::Array(vec![Value::Integer(1)]),
        Value::Double(1.5),
        text("123456789012345678901"),
        Value::Null,
        bulk(b"txt:hi"),
        text("after"),
        Value::Error("ERR x".into()),
    ];
    for size in [1, 2, 3, 7, 64, bytes.len()] {
        assert_eq!(decode_all(bytes, size).unwrap(), expected, "pieces of {size}");
    }
}

#[test]
fn no_announced_length_is_believed() {
    let deep = b"*1\r\n".repeat(1_000_000);
    let wide: Vec<u8> = [b"*10000\r\n".to_vec(), b"*0\r\n".repeat(10_000)].concat().repeat(3);
    let nested_wide = [b"*3\r\n".to_vec(), wide].concat();
    let endless = vec![b'+'; LINE_BYTES_MAX + 2];
    for bytes in [
        &b"$9223372036854775807\r\n"[..],
        b"*9223372036854775807\r\n",
        b"%9223372036854775807\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"$x\r\n",
        b"$3\r\nabcd\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        &deep,
        &nested_wide,
        &endless,
    ] {
        let error = decode_all(bytes, bytes.len()).unwrap_err();
        assert!(matches!(error, WireError::Protocol(_)), "{error}");
    }
}

#[test]
fn a_long_string_takes_memory_only_as_it_comes() {
    let mut decoder = Decoder::default();
    let (taken, reply) = decoder.decode(b"$500000000\r\nabc", 1 << 30).unwrap();
    assert_eq!((taken, reply), (15, None));
    assert!(decoder.string.unwrap().0.capacity() <= FIRST_BYTES);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_pieces_change_nothing(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(b"*$:+-%\r\n0123456789".to_vec())], 0..200), size in 1_usize..20)
    {
        let run = |size: usize| {
            let (mut decoder, mut waiting, mut replies) = (Decoder::default(), vec![], vec![]);
            for piece in bytes.chunks(size) {
                waiting.extend_from_slice(piece);
                loop {
                    match decoder.decode(&waiting, MAX) {
                        Err(_) => return (replies, true),
                        Ok((taken, reply)) => {
                            waiting.drain(..taken);
                            match reply {
                                Some(reply) => replies.push(format!("{reply:?}")),
                                None => break,
                            }
                        }
                    }
                }
            }
            (replies, false)
        };
        prop_assert_eq!(run(size), run(bytes.len().max(1)));
    }

    #[test]
    fn what_is_encoded_is_an_array_of_the_same_strings(arguments in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..40), 1..6), size in 1_usize..9)
    {
        let mut out = vec![];
        encode(&mut out, &arguments.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let expected = Value::Array(arguments.into_iter().map(Value::Bulk).collect());
        prop_assert_eq!(decode_all(&out, size).unwrap(), vec![expected]);
    }
}
