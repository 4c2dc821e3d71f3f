//! Walking the rows of a table that have a gradient.

/// Calls `update` with the elements of each row in `rows`: weights, one slot, and the row's gradient.
pub(super) fn for_each_row<const SLOTS: usize>(
    weights: &mut [f32],
    mut slots: [&mut [f32]; SLOTS],
    rows: &[u32],
    values: &[f32],
    width: usize,
    mut update: impl FnMut(&mut [f32], [&mut [f32]; SLOTS], &[f32]),
) {
    for (&row, gradient) in rows.iter().zip(values.chunks_exact(width)) {
        let elements = row as usize * width..(row as usize + 1) * width;
        let slots = slots.each_mut().map(|slot| &mut slot[elements.clone()]);
        update(&mut weights[elements.clone()], slots, gradient);
    }
}
