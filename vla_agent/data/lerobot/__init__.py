"""LeRobotDataset folders, read and written without the lerobot package.

Reading goes from the folder to its tables to its frames:

1. folder: `dataset_files` reads JSON and parquet files; `dataset_schema` names the files and features;
2. tables: `lerobot_v30` and `lerobot_v21` read the episodes of each version, `dataset_tables` holds the result,
   `dataset_checks` checks it;
3. frames: `frame_decoding` decodes any images, `frame_cache` keeps all images of a camera decoded on disk.

`dataset_reader.load` does all of this.  Writing: `episode` encodes one episode, `dataset_writer` writes a folder.
"""
