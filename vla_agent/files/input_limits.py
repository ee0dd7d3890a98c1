"""Limits on everything that comes from elsewhere: files, messages, pictures.  Each has its reason beside it.

They bound what reading costs, at most 1 GiB of memory and 5 s, and are far above what honest files need.  A file that
is larger for a good reason is refused with a remedy; the limit itself is changed here, in one place, for all readers.
"""

from __future__ import annotations

KIB, MIB = 2**10, 2**20

# -- text ------------------------------------------------------------------------------------------------------------
JSON_BYTES = 16 * MIB  # parsed, the worst JSON takes 25 times its size: 400 MiB; the largest report so far has 3 MiB
LINES_BYTES = 32 * MIB  # of JSON lines; 100,000 episodes of LeRobotDataset v2.1 have 20 MiB
LINE_BYTES = MIB  # one line of them
JSON_PARTS = 500_000  # maps and lists in one JSON file; the largest report has 50,000
DEPTH = 32  # nested maps and lists; our own files have at most 8, and recursive code after the parser needs a bound
YAML_BYTES = 256 * KIB  # the largest file that comes with the project has 8 KiB
YAML_NODES = 20_000  # keys, values, lists and maps; the pure parser reads 10,000 a second
YAML_EXPANDED = 100_000  # nodes after every alias is replaced by what it stands for
REPORT_BYTES = 16 * MIB  # of report.json: 550 bytes an episode, 25,000 episodes; parsed as above
LEDGER_BYTES = 32 * MIB  # 450 bytes a line: 70,000 attempts
SCRATCH_BYTES = 512 * MIB  # of the episodes of an unfinished run, read line by line: 25,000 of 20 KiB
INTEGER_BITS = 64  # of a whole number; larger ones are no count, seed or size of ours

# -- arrays and tables -----------------------------------------------------------------------------------------------
ARRAYS_BYTES = 512 * MIB  # all arrays of one .npz: one episode with its encoded images, or one shard
ARRAYS = 4096  # arrays in one .npz
ACTIONS_BYTES = 64 * MIB  # of actions.npz, 2 KiB an episode, and of one episode's arrays
ACTIONS_ARRAYS = 2**16  # in actions.npz, two an episode
TABLE_BYTES = 256 * MIB  # of one parquet file's wanted columns, uncompressed; writers start a new file at 100 MB
TEXT_TABLE_BYTES = 64 * MIB  # of a table of episodes or instructions, whose rows become Python objects
COLUMNS_BYTES = 256 * MIB  # of all columns of numbers, and for larger datasets:
COLUMNS_RATIO = 64  # times the bytes of the files that hold them; numbers of a robot shrink less
EPISODES = 250_000  # of one dataset, or instructions; three times the largest that is published
TABLE_ROWS = 20_000_000  # of one parquet file: 11 days at 20 Hz
HDF5_BYTES = 256 * MIB  # of one dataset of numbers, uncompressed; images are read one frame at a time
HDF5_CHUNK = 64 * MIB  # uncompressed; HDF5 holds whole chunks in memory

# -- pictures --------------------------------------------------------------------------------------------------------
PICTURE_BYTES = 64 * MIB  # of one encoded picture
PICTURE_PIXELS = 40_000_000  # 8K has 33 million; decoded and as an array it takes 300 MB
PICTURE_SCANS = 16 * PICTURE_PIXELS  # pixels times scans of a progressive JPEG: each scan goes over all pixels again
CAMERA_PIXELS = 16_000_000  # of a live camera: 4K has 8 million, and several cameras are decoded at the same time
VIDEO_FRAMES = 20_000_000  # of one video file: 11 days at 20 Hz

# -- messages --------------------------------------------------------------------------------------------------------
MESSAGE_BYTES = 16 * MIB  # of one message of a policy server; five pictures of 1024 x 1024 pixels
MESSAGE_NODES = 16_384  # values, keys, lists and maps of one message; an observation has about 40
JOINTS = 1024  # names or values of one joint state or point of a trajectory
POINTS = 1024  # of one trajectory; a chunk has 16 to 100
RECORD_BYTES = 64 * MIB  # of one message of a bag: one raw picture of 16 million pixels and its header
CHUNK_BYTES = 64 * MIB  # of one chunk of a bag, uncompressed; writers use 1 to 4 MiB
CHUNKS_BYTES = 256 * MIB  # of the chunks of a bag that overlap in time, which are in memory together
BAG_BYTES = 2048 * MIB  # of a bag that is compressed as one file, uncompressed on the disk
BAG_FILES = 1024  # of one bag

# -- descriptions ----------------------------------------------------------------------------------------------------
SIDE = 16_384  # pixels along one side of a picture; more than any encoder of video takes
NAME = 200  # characters of a name of a feature, camera, joint or topic
