//! What can be wrong with a transport.

/// One thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is.
    None,

    // Of the medium.
    /// Some frames never arrive.
    Loses,
    /// Some frames arrive twice.
    Doubles,
    /// Some frames are overtaken.
    Reorders,
    /// Large frames never arrive.
    LosesLarge,
    /// Large frames arrive without their end.
    CutsBodies,
    /// A write is answered before it is done, and some are not done at all.
    AnswersEarly,
    /// A subscription is answered before it is effective.
    ConfirmsEarly,
    /// What is given up stays subscribed.
    KeepsSubscriptions,
    /// A connection that was dropped stays.
    KeepsConnections,
    /// Some topics are not subscribed again on later connections.
    RestoresPartly,
    /// The prefix plays no role.
    IgnoresPrefixes,
    /// The hub plays no role.
    IgnoresHubs,
    /// The kind plays no role.
    IgnoresKinds,
    /// Names are joined with dots, unescaped.
    JoinsNames,
    /// Long names are cut.
    CutsNames,
    /// A star at the end of a name stands for any text.
    MatchesPatterns,
    /// Everybody gets everything, though the broker is said to filter.
    Broadcasts,
    /// Bytes that are no envelope end the connection.
    HangsUpOnGarbage,
    /// Each topic takes a request of its own.
    AsksOneByOne,
    /// What nobody is subscribed to is refused.
    RefusesUnheard,
    /// A new subscriber gets what was published before.
    Replays,
    /// What is published while the medium is paused never arrives.
    LosesWhilePaused,
    /// Whoever reads from a position of the log misses the first that stands there.
    SkipsInLog,

    // Of the pipeline.
    /// A node's own sinks hear its envelopes again.
    Echoes,
    /// A node's own sinks hear its envelopes late.
    LocalLast,
    /// A node's own sinks don't hear its envelopes.
    LocalNever,
    /// Losses while the link is down are answered as if published.
    SwallowsErrors,
    /// Sinks are not told of interruptions.
    HidesInterruptions,
    /// Sinks are told twice.
    RepeatsInterruptions,
    /// Excluded connections and traces don't travel.
    ForgetsExtras,
    /// More is said to be proven than is.
    Overstates,
    /// What is refused is delivered here all the same.
    HalfRefuses,
    /// A full queue gives another envelope back.
    ExchangesEnvelopes,
    /// Nobody is told that there is room.
    NoRoom,
    /// The node says that it was closed already, and takes envelopes.
    NeverCloses,
    /// Sinks hear of what is published after their node was closed.
    HearsOn,
    /// Sinks hear of what is published after their subscription was dropped.
    KeepsSinks,
    /// The link is said to be up, whatever happens.
    ClaimsUp,
    /// Sinks may publish.
    LetsSinksPublish,
    /// Reading from a position is granted, though nothing is kept.
    PretendsToReplay,
}
