package contract

// Workflow types of housekeeping: what no request does. Schedules start them.
const (
	// WorkflowKeepHouse ends what processes that died left, as far as rows tell, and deletes what has expired.
	WorkflowKeepHouse = "KeepHouse"
	// WorkflowSettleStores compares all that lies in the image stores with the rows.
	WorkflowSettleStores = "SettleImageStores"
	// WorkflowReclaim deletes servers whose delete was deferred, when their time is over.
	WorkflowReclaim = "ReclaimServers"
	// WorkflowConfirmResizes confirms resizes that nobody has confirmed or reverted, when their time is over.
	WorkflowConfirmResizes = "ConfirmResizes"
	// WorkflowPurgeProjects deletes projects with all that they own, where somebody asked for that.
	WorkflowPurgeProjects = "PurgeProjects"
	// WorkflowOffloadShelved has shelved servers leave their hosts, when their time there is over.
	WorkflowOffloadShelved = "OffloadShelvedServers"
)

// Activities of housekeeping.
const (
	SettleImages    = "SettleImages"
	SettleStores    = "SettleStores"
	PurgeTokens     = "PurgeTokens"
	PurgeImageTasks = "PurgeImageTasks"
	ReclaimDeleted  = "ReclaimDeleted"
	ConfirmResized  = "ConfirmResized"
	PurgeProjects   = "PurgeProjects"
	OffloadShelved  = "OffloadShelved"
)

// Housekeeping is the input of its activities: nothing yet.
type Housekeeping struct{}
