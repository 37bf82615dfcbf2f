"""Scans what is stored already: every object of folders and buckets, once, however often stopped.

The flow, each step a module of its own:

    sources      list objects in an order of their own, and fetch them
    selection    chooses among what is listed; estimate tells what it will cost
    run          cuts the listing into batches, writes each down, then has it scanned
    engines      carry batches out: `local` in this process, `ray` on a cluster
    fetching     fetches with patience and a pace of its own
    judging      decodes, hashes and looks up, here or at a server
    state        what is planned, what is finished, what it adds up to: one file
    reports      JSON Lines, CSV, Parquet, VICS, and a page for people

Invariants:

* An object that was listed is planned with the place that the listing has reached, in one
  transaction; a batch is finished with its records and sums, in one transaction. So each object has
  one record whenever the scan is killed, and what is done again is what was not finished.
* Nothing of an object is kept but its name, what the listing said of it, its outcome and, where
  asked for, its sealed hashes.
* Nothing is deleted or moved, and nothing is written to what is scanned but the tags asked for.
"""
