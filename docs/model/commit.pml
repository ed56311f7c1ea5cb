/*
 * The commit of one transaction over two databases, and its recovery. README.md says what it is checked for, and how to run it:
 *
 *   spin -a docs/model/commit.pml && gcc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -E -m1000000
 *
 * Two processes: one that commits, and may be paused or die at any moment, and its successor after a death, whose recovery is that of any
 * process; beside them a second process that recovers all the time. A pause is an interleaving in which a process makes no step, so every
 * pause of any length is among those that are tried; nobody has a clock, and a lease may be taken for run out at any moment.
 */

mtype = { open, prepared, committed, rolledBack };
mtype = { nothing, commitIt, abortIt };

#define DATABASES 2

/* Of each of the two that recover. */
#ifndef PASSES
#define PASSES 1
#endif

/* What a database has of the transaction. An open part is rolled back when its connection is gone. */
mtype branch[DATABASES] = open;

/* PREPARE was sent, and hasn't arrived. */
bool onTheWay[DATABASES];

/* The register of the decision, which can be written once, and deleted when all have followed. */
mtype decision = nothing;

/* The row whose existence is the right to decide of the process that commits. */
bool registered = false;

/* A decision that is being written: it keeps that row from being deleted. */
bool writing = false;

/* What the store has answered to it. */
mtype answer = nothing;

/* Whether the process that commits is there. */
bool alive = true;

/* What its caller was told. */
bool toldCommitted = false;
bool toldAborted = false;

#define HALF_DONE ((branch[0] == committed && branch[1] == rolledBack) || (branch[0] == rolledBack && branch[1] == committed))

inline check() {
  assert(!HALF_DONE);
  assert(!(toldCommitted && (branch[0] == rolledBack || branch[1] == rolledBack)));
  assert(!(toldAborted && (branch[0] == committed || branch[1] == committed)));
}

/* Ends what is prepared. What an answer says is believed of nobody: only a new list is. */
inline finish(d, how) {
  atomic {
    if
    :: branch[d] == prepared -> branch[d] = how
    :: else -> skip
    fi;
    check()
  }
}

/* Writes an abort where nothing is decided, and reads what is; unknown where the right to decide is gone and nothing stands there. */
inline settle(outcome) {
  atomic {
    !writing;
#ifndef NO_TOMBSTONE
    if
    :: decision == nothing && registered -> decision = abortIt
    :: else -> skip
    fi;
#endif
    outcome = decision
  }
}

/* Carries PREPARE to a database, soon or late, also when its sender is dead; or the connection breaks before. */
proctype Network(byte d) {
  do
  :: atomic { onTheWay[d] && branch[d] == open -> branch[d] = prepared; onTheWay[d] = false; check() }
  :: atomic { branch[d] == open && !alive -> branch[d] = rolledBack; onTheWay[d] = false; check() }
  :: branch[d] != open -> break
  od
}

/* The decision on its way to the store. */
bool sent = false;

/*
 * Writes "commit" for the process that commits, in two steps: looks for its row, and locks that, then writes. What was sent is written although
 * the sender dies; not where its row is gone.
 */
proctype Store() {
end:
  do
  :: atomic {
      sent && !writing ->
      sent = false;
      if
#ifdef NO_REGISTRATION
      :: true -> writing = true
#else
      :: registered -> writing = true
      :: else -> answer = abortIt
#endif
      fi
    }
  :: atomic {
      writing ->
      if
      :: decision == nothing -> decision = commitIt; answer = commitIt
      :: else -> answer = abortIt
      fi;
      writing = false
    }
  od
}

proctype Committer() provided (alive) {
  mtype outcome = nothing;
  byte d = 0;
  bool failed = false;

  registered = true;
#ifdef DECIDES_BEFORE_VOTES
  sent = true;
#endif
  /* Phase one: both at once. An answer may be lost, and then nobody knows. */
  onTheWay[0] = true;
  onTheWay[1] = true;
  do
  :: d < DATABASES ->
    if
    :: branch[d] == prepared -> d++
    :: failed = true -> break
    fi
  :: d == DATABASES -> break
  od;

  if
  :: failed ->
    /* Somebody has not voted. What was prepared is rolled back, as far as that can be reached; what lands late is recovery's. */
    atomic { toldAborted = true; check() };
    finish(0, rolledBack);
    finish(1, rolledBack);
    goto over
  :: else -> skip
  fi;

  /* The decision: sent, and its answer may be lost. The row of the register is locked while it is written. */
#ifndef DECIDES_BEFORE_VOTES
  sent = true;
#endif
  if
  :: answer != nothing -> outcome = answer
  :: /* the answer is lost */ settle(outcome)
  fi;

  if
  :: outcome == commitIt ->
    atomic { toldCommitted = true; check() };
    finish(0, committed);
    if
    :: finish(1, committed)
    :: skip /* it doesn't answer */
    fi;
#ifdef COLLECTS_EARLY
    atomic { !writing; decision = nothing }
#else
    /* Deleted where both have answered that they have. */
    if
    :: atomic { branch[0] != prepared && branch[1] != prepared -> decision = nothing }
    :: skip
    fi
#endif
  :: outcome == abortIt ->
    atomic { toldAborted = true; check() };
    finish(0, rolledBack);
    finish(1, rolledBack)
  :: outcome == nothing ->
#ifdef NO_TOMBSTONE
    atomic { toldAborted = true; check() };
    finish(0, rolledBack);
    finish(1, rolledBack)
#else
    /* Fenced, and nothing stands there: others have ended it, one way or the other. The caller is told that it isn't known. */
    skip
#endif
  fi;
over:
  skip
}

/* Dies at any moment, with its connections. */
proctype Death() {
  alive = false
}

/* A pass of recovery, by any process, as often as it likes. */
proctype Recoverer() {
  bool list[DATABASES];
  bool again[DATABASES];
  bool living;
  mtype decided;
  byte passes = 0;

  do
  :: passes < PASSES ->
    /* 1. A lease may have run out at any moment: its owner is taken the right to decide, after what is being written. */
    if
#ifdef LEASE_ONLY
    :: living = false
#else
#ifdef FENCE_DOES_NOT_WAIT
    :: registered = false
#else
    :: atomic { !writing; registered = false }
#endif
#endif
    :: skip
    fi;
#ifdef READS_THE_LIVING_FIRST
    living = registered;
    decided = decision;
#endif
    /* 2. What is prepared, one database after the other. */
    list[0] = (branch[0] == prepared);
    list[1] = (branch[1] == prepared);
    /* 3. Who may decide, then what is decided. */
#ifndef READS_THE_LIVING_FIRST
#ifndef LEASE_ONLY
    living = registered;
#endif
    decided = decision;
#endif
    /* 4. Of the dead: as it is decided, else rolled back. */
    if
    :: !living && decided == commitIt ->
      if :: list[0] -> finish(0, committed) :: else -> skip fi;
      if :: list[1] -> finish(1, committed) :: else -> skip fi
    :: !living && decided != commitIt ->
      if :: list[0] -> finish(0, rolledBack) :: else -> skip fi;
      if :: list[1] -> finish(1, rolledBack) :: else -> skip fi
    :: else -> skip
    fi;
    /* 6. A decision of the dead is deleted when a list that was taken behind it has nothing. */
    decided = decision;
    living = registered;
    again[0] = (branch[0] == prepared);
    again[1] = (branch[1] == prepared);
    if
#ifdef COLLECTS_UNSEEN
    :: !living && decided == commitIt -> decision = nothing
#else
    :: !living && decided == commitIt && !again[0] && !again[1] -> decision = nothing
#endif
    :: else -> skip
    fi;
    /* 5. The same counts for what the process that commits has left when it died. */
    passes++
  :: passes == PASSES -> break
  od
}

init {
  atomic {
    run Network(0);
    run Network(1);
    run Store();
    run Committer();
    run Death();
    run Recoverer();
    run Recoverer()
  }
}
