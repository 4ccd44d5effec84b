-- +goose Up
-- The numbers that images have in EC2's ids, given on first use. A sequence never goes back, so no number is given twice,
-- also when its image is gone.
CREATE TABLE ec2_image_ids (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- ImageByEC2ID
    image_id text NOT NULL REFERENCES images ON DELETE CASCADE,
    CONSTRAINT ec2_image_ids_image_key UNIQUE (image_id) -- EC2ImageID
);

-- +goose Down
DROP TABLE ec2_image_ids;
