use bytes::Bytes;
use rmp::Marker;

/// The deepest nesting of a value, as in JSON: what reads it may recurse.
pub(super) const DEEPEST: usize = 64;

/// What was to be read is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfit;

/// Why a value is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoValue {
    /// It is cut off, or begins with a byte that nothing begins with.
    Malformed,
    TooDeep,
}

/// What is left of a record to read. It allocates nothing, whatever lengths the record claims.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    record: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(record: &'a Bytes) -> Self {
        Self { record, at: 0 }
    }

    /// The number of items of an array.
    pub(super) fn array(&mut self) -> Result<u32, Unfit> {
        match self.marker()? {
            Marker::FixArray(count) => Ok(count.into()),
            Marker::Array16 => self.number(2),
            Marker::Array32 => self.number(4),
            _ => Err(Unfit),
        }
    }

    /// The number of pairs of a map.
    pub(super) fn map(&mut self) -> Result<u32, Unfit> {
        match self.marker()? {
            Marker::FixMap(count) => Ok(count.into()),
            Marker::Map16 => self.number(2),
            Marker::Map32 => self.number(4),
            _ => Err(Unfit),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Unfit> {
        let length = match self.marker()? {
            Marker::FixStr(length) => length.into(),
            Marker::Str8 => self.number(1)?,
            Marker::Str16 => self.number(2)?,
            Marker::Str32 => self.number(4)?,
            _ => return Err(Unfit),
        };
        std::str::from_utf8(self.take(length as usize)?).map_err(|_| Unfit)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Unfit> {
        match self.marker()? {
            Marker::True => Ok(true),
            Marker::False => Ok(false),
            _ => Err(Unfit),
        }
    }

    /// An integer, of whatever width.
    pub(super) fn integer(&mut self) -> Result<i64, Unfit> {
        Ok(match self.marker()? {
            Marker::FixPos(value) => value.into(),
            Marker::FixNeg(value) => value.into(),
            Marker::U8 => self.number(1)?.into(),
            Marker::U16 => self.number(2)?.into(),
            Marker::U32 => self.number(4)?.into(),
            Marker::U64 => {
                i64::try_from(u64::from_be_bytes(self.array_of()?)).map_err(|_| Unfit)?
            }
            Marker::I8 => i8::from_be_bytes(self.array_of()?).into(),
            Marker::I16 => i16::from_be_bytes(self.array_of()?).into(),
            Marker::I32 => i32::from_be_bytes(self.array_of()?).into(),
            Marker::I64 => i64::from_be_bytes(self.array_of()?),
            _ => return Err(Unfit),
        })
    }

    /// Whether nil comes next, which is taken then.
    pub(super) fn nil(&mut self) -> bool {
        let nil = self.record.get(self.at) == Some(&Marker::Null.to_u8());
        self.at += usize::from(nil);
        nil
    }

    /// The next value, as it is.
    pub(super) fn value(&mut self) -> Result<Bytes, NoValue> {
        let start = self.at;
        self.skip()?;
        Ok(self.record.slice(start..self.at))
    }

    /// Passes over the next value.
    pub(super) fn skip(&mut self) -> Result<(), NoValue> {
        // How many values are to come on each level that is not through.
        let mut levels = [0_u64; DEEPEST + 1];
        let mut depth = 0;
        levels[0] = 1;
        loop {
            while levels[depth] == 0 {
                if depth == 0 {
                    return Ok(());
                }
                depth -= 1;
            }
            levels[depth] -= 1;
            let inner = self.skip_one().map_err(|Unfit| NoValue::Malformed)?;
            if inner > 0 {
                depth += 1;
                *levels.get_mut(depth).ok_or(NoValue::TooDeep)? = inner;
            }
        }
    }

    /// Passes over a value but not over those in it, and returns how many those are.
    fn skip_one(&mut self) -> Result<u64, Unfit> {
        let length = match self.marker()? {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                0
            }
            Marker::U8 | Marker::I8 => 1,
            Marker::U16 | Marker::I16 => 2,
            Marker::U32 | Marker::I32 | Marker::F32 => 4,
            Marker::U64 | Marker::I64 | Marker::F64 => 8,
            Marker::FixStr(length) => length.into(),
            Marker::Str8 | Marker::Bin8 => self.number(1)? as usize,
            Marker::Str16 | Marker::Bin16 => self.number(2)? as usize,
            Marker::Str32 | Marker::Bin32 => self.number(4)? as usize,
            Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::FixExt4 => 5,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::Ext8 => self.number(1)? as usize + 1,
            Marker::Ext16 => self.number(2)? as usize + 1,
            Marker::Ext32 => (self.number(4)? as usize).saturating_add(1),
            Marker::FixArray(count) => return Ok(count.into()),
            Marker::Array16 => return Ok(self.number(2)?.into()),
            Marker::Array32 => return Ok(self.number(4)?.into()),
            Marker::FixMap(count) => return Ok(2 * u64::from(count)),
            Marker::Map16 => return Ok(2 * u64::from(self.number(2)?)),
            Marker::Map32 => return Ok(2 * u64::from(self.number(4)?)),
            Marker::Reserved => return Err(Unfit),
        };
        self.take(length)?;
        Ok(0)
    }

    fn marker(&mut self) -> Result<Marker, Unfit> {
        let [byte] = self.array_of()?;
        Ok(Marker::from_u8(byte))
    }

    /// An unsigned number of at most four bytes.
    fn number(&mut self, bytes: usize) -> Result<u32, Unfit> {
        let bytes = self.take(bytes)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Unfit> {
        let (bytes, _) = self.record[self.at..].split_first_chunk().ok_or(Unfit)?;
        self.at += N;
        Ok(*bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unfit> {
        let (bytes, _) = self.record[self.at..].split_at_checked(length).ok_or(Unfit)?;
        self.at += length;
        Ok(bytes)
    }
}
