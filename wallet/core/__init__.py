"""Core: ids, money, time, refusals, the database and the outbox. It knows no business."""
