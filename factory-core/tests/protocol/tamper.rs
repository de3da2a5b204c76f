//! What happens to messages on their way.

use factory_core::Party;
use factory_core::protocol::{Body, Exchange, Joint, Message, Step};

/// What a link does to a message: `None` loses it.
pub type Tamper = Box<dyn FnMut(Party, Party, Message) -> Option<Message>>;

/// Changes the steps of signing `joint` that `from` sends to `to`.
pub fn change_step(
    from: Party,
    to: Party,
    joint: Joint,
    mut change: impl FnMut(Step) -> Step + 'static,
) -> Option<Tamper> {
    Some(Box::new(move |sender, receiver, message| match message {
        Message::About { factory, body: Body::Sign { joint: found, session, step } }
            if (sender, receiver, found) == (from, to, joint) =>
        {
            Some(Message::About { factory, body: Body::Sign { joint, session, step: change(step) } })
        }
        other => Some(other),
    }))
}

/// Changes, or loses, the steps of the exchange in a channel that `from` sends to `to`.
pub fn change_exchange(
    from: Party,
    to: Party,
    mut change: impl FnMut(Exchange) -> Option<Exchange> + 'static,
) -> Option<Tamper> {
    Some(Box::new(move |sender, receiver, message| match message {
        Message::About { factory, body: Body::Channel(exchange) } if (sender, receiver) == (from, to) => {
            let changed = change(*exchange)?;
            Some(Message::About { factory, body: Body::Channel(Box::new(changed)) })
        }
        other => Some(other),
    }))
}

/// The same value with one bit changed: the one `from_end` bytes before the end of its encoding.
pub fn flipped<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T, from_end: usize) -> T {
    let mut bytes = postcard::to_stdvec(value).unwrap();
    let index = bytes.len() - from_end;
    bytes[index] ^= 1;
    postcard::from_bytes(&bytes).expect("the changed value is still one of its type")
}
