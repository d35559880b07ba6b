//! What a scenario works with.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use backplane_core::{Backplane, Outage, PublisherOutage, Semantics};

use super::{
    Control, Fixture, Layer, Outcome, Setup, Stop, collect::up, fixture::unable, random::Random,
    record::Note,
};

/// One scenario's run: its medium, what is stacked on that, its randomness, and its notes.
#[derive(Debug)]
pub struct Stage {
    fixture: Arc<dyn Fixture>,
    layer: Layer,
    seed: u64,
    notes: Mutex<Vec<Note>>,
}

impl Stage {
    /// A stage on this medium, whose nodes have this layer.
    #[must_use]
    pub fn new(fixture: Arc<dyn Fixture>, layer: Layer, seed: u64) -> Self {
        Self { fixture, layer, seed, notes: Mutex::default() }
    }

    /// The medium.
    #[must_use]
    pub fn medium(&self) -> &dyn Fixture {
        &*self.fixture
    }

    /// How a node is to be, unless a scenario needs more.
    #[must_use]
    pub fn setup(&self) -> Setup {
        Setup::new(self.layer.options())
    }

    /// Whether what this node publishes while its link is down waits for the link, and its ticket says
    /// that it is queued. Over a medium that is never away nothing is promised about that; there it is
    /// as the node was set up.
    #[must_use]
    pub fn buffers(&self, node: &dyn Backplane) -> bool {
        match node.semantics().publisher_outage {
            PublisherOutage::Never => matches!(self.setup().options.outage, Outage::Buffer { .. }),
            promised => promised == PublisherOutage::Buffers,
        }
    }

    /// Goes on only where the fixture can do this.
    ///
    /// # Errors
    ///
    /// [`Stop::NotApplicable`].
    pub fn needs(&self, control: Control) -> Outcome {
        if self.fixture.controls().contains(&control) { Ok(()) } else { Err(unable(control)) }
    }

    /// Whether the fixture can do this. Where it can't, that is noted.
    pub fn can(&self, control: Control) -> bool {
        let can = self.fixture.controls().contains(&control);
        if !can {
            let what = control.what();
            self.add(Note::LeftOut(format!("a part, as the fixture cannot {what}")));
        }
        can
    }

    /// A new node whose link is up.
    ///
    /// # Errors
    ///
    /// It can't be started, or its link does not come up in time.
    pub async fn node(&self) -> Outcome<Arc<dyn Backplane>> {
        self.node_with(self.setup()).await
    }

    /// The same, set up in a special way.
    ///
    /// # Errors
    ///
    /// Those of [`node`](Self::node).
    pub async fn node_with(&self, setup: Setup) -> Outcome<Arc<dyn Backplane>> {
        let node = self.fixture.node(setup).await?;
        up(&*node).await?;
        Ok(node)
    }

    /// Several new nodes whose links are up.
    ///
    /// # Errors
    ///
    /// Those of [`node`](Self::node).
    pub async fn nodes<const N: usize>(&self) -> Outcome<[Arc<dyn Backplane>; N]> {
        let mut nodes = Vec::with_capacity(N);
        for _ in 0..N {
            nodes.push(self.fixture.node(self.setup()).await?);
        }
        for node in &nodes {
            up(&**node).await?;
        }
        nodes.try_into().map_err(|_| Stop::Broken("wrong number of nodes".to_owned()))
    }

    /// What a node promises.
    ///
    /// # Errors
    ///
    /// No node can be started.
    pub async fn semantics(&self) -> Outcome<Semantics> {
        Ok(self.fixture.node(self.setup()).await?.semantics())
    }

    /// This run's randomness, from its start.
    #[must_use]
    pub const fn random(&self) -> Random {
        Random::new(self.seed)
    }

    /// Notes a figure, or whatever else should be read.
    pub fn note(&self, text: impl Display) {
        self.add(Note::Figure(text.to_string()));
    }

    /// Notes that the transport did better than it promises.
    pub fn better(&self, text: impl Display) {
        self.add(Note::Better(text.to_string()));
    }

    /// Notes that the transport does not promise this part.
    pub fn not_promised(&self, text: impl Display) {
        self.add(Note::NotPromised(text.to_string()));
    }

    fn add(&self, note: Note) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub(super) fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
