package contract

// Workflow types of housekeeping: what no request does. Schedules start them.
const (
	// WorkflowKeepHouse ends what processes that died left, as far as rows tell, and deletes what has expired.
	WorkflowKeepHouse = "KeepHouse"
	// WorkflowSettleStores compares all that lies in the image stores with the rows.
	WorkflowSettleStores = "SettleImageStores"
)

// HousekeepingScheduleID is the id of the schedule of an installation's KeepHouse.
func HousekeepingScheduleID(controlQueue string) string {
	return ofInstallation("housekeeping", controlQueue)
}

// StoresScheduleID is the id of the schedule of an installation's SettleImageStores.
func StoresScheduleID(controlQueue string) string {
	return ofInstallation("image-stores", controlQueue)
}

// Activities of housekeeping.
const (
	SettleImages    = "SettleImages"
	SettleStores    = "SettleStores"
	PurgeTokens     = "PurgeTokens"
	PurgeImageTasks = "PurgeImageTasks"
)

// Housekeeping is the input of its activities: nothing yet.
type Housekeeping struct{}
