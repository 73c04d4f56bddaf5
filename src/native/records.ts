// The numbers of the records that cross the border, as in native/loop/records.h; a test compares the two.

export const eventOpened = 1
export const eventData = 2
export const eventEnd = 3
export const eventDrain = 4
export const eventReleased = 5
export const eventClosed = 6
export const eventConnected = 7
export const eventTimeout = 8
export const eventListenerFailed = 9
export const eventFinished = 10
export const eventTimer = 11
export const eventSecured = 12
export const eventSecuring = 13
export const eventHandshakeFailed = 14
export const eventFileFailed = 15
export const eventStepBegins = 24
export const eventStepBytes = 25
export const eventOpeningFailed = 26
export const eventRuleLogged = 27
export const eventRelaying = 40
export const eventRelayCount = 41
export const eventRelayTimeout = 42

export const opWriteSlab = 1
export const opWriteOut = 2
export const opWriteReference = 3
export const opEnd = 4
export const opClose = 5
export const opDestroy = 6
export const opReset = 7
export const opPause = 8
export const opResume = 9
export const opForget = 10
export const opArmTimer = 11
export const opCancelTimer = 12
export const opTellDrain = 13
export const opWriteFile = 20
export const opStepAnswer = 24

// What a step of JavaScript's answers: ScriptAnswer::Kind in native/handshake/opening_step.h.
export const stepNeedsMore = 1
export const stepDone = 2
export const stepRejects = 3
export const stepDrops = 4
export const stepCloses = 5
export const stepThrew = 6

export const opRelayGo = 40
export const opBreakOff = 41
export const wantDrainFlag = 0x80

export const controlOpCount = 0
export const controlOutBytes = 1
export const controlInTurn = 2
export const controlReferenceCount = 3
export const controlWords = 16

export const pausedByUser = 1
export const pausedByStream = 2
export const pausedByQueue = 4
export const pausedWithoutReader = 8
export const pausedByFilter = 16

/** The code of errors whose number native.takeTlsFailure() explains. */
export const errorTls = 28
/** The same for native.opening.takeFailure(). */
export const errorOpening = 29

export const maxSlots = 1 << 20
