//! Channel → slot, as every Redis Cluster computes it.

/// How many slots there are.
pub(super) const SLOTS: usize = 16_384;

/// The slot of a channel without hash tags: CRC-16/XMODEM of all of it.
pub(super) fn slot_of(channel: &str) -> u16 {
    let step = |crc: u16, byte: u8| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)];
    channel.bytes().fold(0, step) % SLOTS as u16
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of("123456789"), 0x31C3);
        // As `CLUSTER KEYSLOT` says.
        assert_eq!([slot_of("foo"), slot_of("somekey"), slot_of("")], [12_182, 11_058, 0]);
    }
}
