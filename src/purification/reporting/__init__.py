"""From measurement files to what people read: tables, figures, and the papers' numbers beside."""
